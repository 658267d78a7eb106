"""`POST /v1/responses` and `/v1/responses/input_tokens`.

As with the Messages API, a question becomes a chat completion, and what that says becomes items.
"""

from __future__ import annotations

from typing import Any, cast

from starlette.types import Scope, Send

from redline.errors import RequestError
from redline.protocol.chat import ChatRequest
from redline.protocol.responses import ResponsesChat, ResponsesPrompt, ResponsesRequest
from redline.protocol.responses_answers import InputTokenCount
from redline.protocol.responses_items import item_turns
from redline.protocol.turns import Turn, turns
from redline.server.answer import Answer
from redline.server.authentication import caller_of
from redline.server.call import CallEndpoint
from redline.server.chat import ChatEndpoint
from redline.server.chat_formats import ChatFormats
from redline.server.errors import HTTPError
from redline.server.job import Job
from redline.server.keys import ApiKey
from redline.server.response_store import ResponseStore
from redline.server.responses_answer import ID_PREFIX, NumberedEvents, ResponsesAnswer
from redline.server.service import Service
from redline.server.spoken import spoken
from redline.server.stream import EventStream
from redline.server.waiting import Place

_FIELDS = {
    "prompt": "input",
    "messages": "input",
    "max_completion_tokens": "max_output_tokens",
    "max_tokens": "max_output_tokens",
    "reasoning_effort": "reasoning.effort",
    "response_format": "text.format",
}


class ResponsesEndpoint(ChatEndpoint):
    """Chat completions under the names of another API, and with a memory."""

    id_prefix = ID_PREFIX
    body_type = ResponsesRequest

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        self._store = service.responses

    def open(self, send: Send) -> EventStream:
        return NumberedEvents(send)

    def parse(self, data: Any, caller: ApiKey) -> ChatRequest:
        asked = ResponsesRequest.parse(data)
        self.unknown.report(ResponsesRequest.unknown_names(data))
        before = turns_before(self._store, asked, caller.name)
        try:
            return ResponsesChat.parse(
                {
                    **asked.chat_fields(before),
                    "max_completion_tokens": asked.max_output_tokens,
                    "stream": asked.stream,
                    "temperature": asked.temperature,
                    "top_p": asked.top_p,
                    "presence_penalty": asked.presence_penalty,
                    "frequency_penalty": asked.frequency_penalty,
                    "owner": caller.name,
                    "asked": asked,
                    "turns": turns([*before, *item_turns(asked.input)]),
                }
            )
        except RequestError as error:
            _rename(error)
            raise

    def rename(self, request: ChatRequest, error: RequestError) -> None:
        super().rename(request, error)
        _rename(error)

    def answer(self, request: ChatRequest, job: Job) -> Answer[ChatRequest]:
        chat, tokenizer = cast(ResponsesChat, request), self.engine.tokenizer
        said = spoken(request, job, tokenizer, self.formats.of(request))
        return ResponsesAnswer(chat, job, tokenizer, said, self._store)


class InputTokensEndpoint(CallEndpoint[ResponsesPrompt]):
    """The tokens of a question as the model will see it, however many they are."""

    request_type = ResponsesPrompt

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        self._store = service.responses
        self._formats = ChatFormats(service)

    def model_of(self, request: ResponsesPrompt) -> str:
        return request.model

    async def respond(self, scope: Scope, request: ResponsesPrompt, place: Place) -> str:
        before = turns_before(self._store, request, caller_of(scope).name)
        try:
            return await self.service.aside(self._count, request.chat_fields(before))
        except RequestError as error:
            _rename(error)
            raise

    def _count(self, fields: dict[str, Any]) -> str:
        chat = ChatRequest.parse(fields)
        self._formats.check_tools(chat)
        messages, tools = self._formats.shown(chat)
        tokens = self.engine.tokenize_chat(messages, tools or None, chat.template_variables)
        return InputTokenCount(input_tokens=len(tokens)).to_json()


def turns_before(store: ResponseStore, asked: ResponsesPrompt, owner: str) -> list[Turn]:
    """The conversation that a request goes on with. Raises HTTPError when it is not kept."""
    if asked.previous_response_id is None:
        return []
    stored = store.get(owner, asked.previous_response_id)
    if stored is None:
        raise HTTPError(
            400,
            f"previous_response_id is {asked.previous_response_id[:100]!r}, which is not kept here "
            "(any more); send the conversation as input",
            param="previous_response_id",
            code="previous_response_not_found",
        )
    return stored.turns


def _rename(error: RequestError) -> None:
    """Name the field the client sent."""
    for ours, theirs in _FIELDS.items():
        if error.param is not None and error.param.startswith(ours):
            error.param = theirs
            error.args = (str(error).replace(ours, theirs),)
            return
