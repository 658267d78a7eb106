"""`POST /v1/messages` and `/v1/messages/count_tokens`: Anthropic's Messages API.

A conversation is translated into a chat completion, and what that says into blocks: what chat completions
learn to be asked, this has to translate.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from starlette.types import Send

from redline.errors import ContextLengthError, RequestError
from redline.protocol.anthropic import MessagesPrompt, MessagesRequest, chat_fields
from redline.protocol.anthropic_answers import (
    Message,
    MessageDelta,
    MessageEnding,
    MessagesError,
    MessagesErrorBody,
    MessageStart,
    MessageStop,
    MessagesUsage,
    StopReason,
    ThinkingTokens,
    TokenCount,
    error_type,
)
from redline.protocol.chat import ChatRequest
from redline.protocol.usage import Usage
from redline.protocol.wire import ResponseModel
from redline.server.answer import Answer, Collected
from redline.server.anthropic_errors import say_what_does_not_fit
from redline.server.call import ComputeEndpoint
from redline.server.chat import ChatEndpoint
from redline.server.chat_formats import ChatFormats
from redline.server.errors import HTTPError
from redline.server.job import Job
from redline.server.keys import ApiKey
from redline.server.message_blocks import MessageBlocks
from redline.server.named_events import NamedEvents
from redline.server.service import Service
from redline.server.spoken import Spoken, SpokenAnswer, spoken
from redline.server.stream import EventStream

if TYPE_CHECKING:
    from redline.engine.outputs import Delta
    from redline.server.engine import ServedTokenizer

_FIELDS = {"response_format.json_schema": "output_config.format", "response_format": "output_config.format"}
_STOP_REASONS: dict[str, StopReason] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}


class MessagesEndpoint(ChatEndpoint):
    """Chat completions under the names of another API."""

    id_prefix = "msg_"
    body_type = MessagesRequest

    def open(self, send: Send) -> EventStream:
        return NamedEvents(send, _error_event)

    def parse(self, data: Any, caller: ApiKey) -> ChatRequest:
        asked = MessagesRequest.parse(data)
        self.unknown.report(MessagesRequest.unknown_names(data))
        return _chat(
            asked,
            max_tokens=asked.max_tokens,
            stop=asked.stop_sequences,
            stream=asked.stream,
            temperature=asked.temperature,
            top_k=asked.top_k,
            top_p=asked.top_p,
        )

    def rename(self, request: ChatRequest, error: RequestError) -> None:
        super().rename(request, error)
        _rename(error)
        if isinstance(error, ContextLengthError):
            say_what_does_not_fit(error)

    def answer(self, request: ChatRequest, job: Job) -> Answer[ChatRequest]:
        tokenizer = self.engine.tokenizer
        return MessagesAnswer(
            request, job, tokenizer, spoken(request, job, tokenizer, self.formats.of(request))
        )


class CountTokensEndpoint(ComputeEndpoint[MessagesPrompt]):
    """The tokens of a conversation as the model will see it, however many they are."""

    request_type = MessagesPrompt

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        self._formats = ChatFormats(service)

    def model_of(self, request: MessagesPrompt) -> str:
        return request.model

    def answer(self, request: MessagesPrompt) -> str:
        chat = _chat(request)
        self._formats.check_tools(chat)
        messages, tools = self._formats.shown(chat)
        tokens = self.engine.tokenize_chat(
            messages,
            tools or None,
            add_generation_prompt=chat.add_generation_prompt,
            continue_final_message=chat.continue_final_message,
        )
        return TokenCount(input_tokens=len(tokens)).to_json()


class MessagesAnswer(SpokenAnswer):
    """One choice, as a message or as the events of one."""

    def __init__(self, request: ChatRequest, job: Job, tokenizer: ServedTokenizer, said: Spoken) -> None:
        super().__init__(request, job, tokenizer, said)
        self._blocks = MessageBlocks()
        self._started = False

    def chunks(self, prompt: int, delta: Delta) -> Sequence[ResponseModel]:
        return list(self._events(delta))

    def _events(self, delta: Delta) -> Iterator[ResponseModel]:
        if not self._started:
            self._started = True
            yield MessageStart(message=self._message())
        for event in self._said.take():
            yield from self._blocks.add(event)
        if delta.finish_reason is not None:
            yield from self._blocks.end()
            ending = self._ending(delta.finish_reason, delta.stop_reason)
            yield MessageDelta(delta=ending, usage=_usage(self.usage()))
            yield MessageStop()

    def response(self, choices: list[Collected]) -> ResponseModel:
        (choice,) = choices
        for event in self._said.take():
            deque(self._blocks.add(event), maxlen=0)
        deque(self._blocks.end(), maxlen=0)
        message, ending = self._message(), self._ending(choice.finish_reason, choice.stop_reason)
        message.content = self._blocks.content
        message.stop_reason, message.stop_sequence = ending.stop_reason, ending.stop_sequence
        return message

    def _message(self) -> Message:
        return Message(id=self.job.id, model=self.job.model, usage=_usage(self.usage()))

    def _ending(self, finish_reason: str | None, stop_reason: str | int | None) -> MessageEnding:
        """The engine calls both ends `stop`: that of a turn, and a stop string, which it names."""
        reason = self._said.finish_reason(finish_reason)
        if reason == "stop" and isinstance(stop_reason, str):
            return MessageEnding(stop_reason="stop_sequence", stop_sequence=stop_reason)
        assert reason is not None, f"{stop_reason = }"
        return MessageEnding(stop_reason=_STOP_REASONS[reason])


def _chat(prompt: MessagesPrompt, **more: Any) -> ChatRequest:
    """The chat completion that answers. Raises RequestError naming the field of this API."""
    try:
        return ChatRequest.parse({**chat_fields(prompt), **more})
    except RequestError as error:
        _rename(error)
        raise


def _rename(error: RequestError) -> None:
    """Name the field the client sent. Messages of this API carry no `param`, so the text has to."""
    for ours, theirs in _FIELDS.items():
        if error.param is not None and error.param.startswith(ours):
            error.param = theirs + error.param.removeprefix(ours)
            error.args = (str(error).replace(ours, theirs),)
            return


def _usage(counts: Usage) -> MessagesUsage:
    prompt, completion = counts.prompt_tokens_details, counts.completion_tokens_details
    num_cached = 0 if prompt is None else prompt.cached_tokens or 0
    num_thinking = 0 if completion is None else completion.reasoning_tokens or 0
    return MessagesUsage(
        input_tokens=counts.prompt_tokens - num_cached,
        cache_read_input_tokens=num_cached,
        output_tokens=counts.completion_tokens,
        output_tokens_details=ThinkingTokens(thinking_tokens=num_thinking),
    )


def _error_event(error: HTTPError) -> ResponseModel:
    told = MessagesError(type=error_type(error.status), message=error.body.error.message)
    return MessagesErrorBody(error=told)
