"""ResponsesAnswer: what an answer says, as a response or as the events of one."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, cast

from starlette.types import Send

from redline.protocol.responses import ResponsesChat
from redline.protocol.responses_answers import (
    ErrorEvent,
    IncompleteDetails,
    InputTokensDetails,
    OutputTokensDetails,
    ResponseEvent,
    ResponseObject,
    ResponsesEvent,
    ResponsesUsage,
    Status,
)
from redline.protocol.turns import turns
from redline.protocol.usage import Usage
from redline.protocol.wire import ResponseModel
from redline.server.answer import Collected
from redline.server.errors import HTTPError
from redline.server.job import Job
from redline.server.named_events import NamedEvents
from redline.server.response_items import ResponseItems
from redline.server.response_store import ResponseStore, StoredResponse
from redline.server.spoken import Spoken, SpokenAnswer

if TYPE_CHECKING:
    from redline.engine.outputs import Delta
    from redline.server.engine import ServedTokenizer

ID_PREFIX = "resp_"

_INCOMPLETE: dict[str, IncompleteDetails] = {
    "length": IncompleteDetails(reason="max_output_tokens"),
    "content_filter": IncompleteDetails(reason="content_filter"),
}


class NumberedEvents(NamedEvents):
    """Named events that count up."""

    def __init__(self, send: Send) -> None:
        super().__init__(send, _error_event)
        self._next = 0

    def encode(self, chunk: ResponseModel) -> bytes:
        assert isinstance(chunk, ResponsesEvent), f"{chunk = }"
        chunk.sequence_number = self._next
        self._next += 1
        return super().encode(chunk)


def _error_event(error: HTTPError) -> ResponseModel:
    told = error.body.error
    return ErrorEvent(type="error", code=cast(str | None, told.code), message=told.message, param=told.param)


class ResponsesAnswer(SpokenAnswer):
    """One choice. What is complete is kept if that is asked for."""

    def __init__(
        self,
        request: ResponsesChat,
        job: Job,
        tokenizer: ServedTokenizer,
        said: Spoken,
        store: ResponseStore,
    ) -> None:
        super().__init__(request, job, tokenizer, said)
        self._owner = request.owner
        self._asked = request.asked
        self._turns = request.turns
        self._store = store
        self._suffix = job.id.removeprefix(ID_PREFIX)
        self._items = ResponseItems(self._suffix)
        self._started = False

    def chunks(self, prompt: int, delta: Delta) -> Sequence[ResponseModel]:
        return list(self._events(delta))

    def response(self, choices: list[Collected]) -> ResponseModel:
        (choice,) = choices
        for event in self._said.take():
            deque(self._items.add(event), maxlen=0)
        deque(self._items.end_all(_status(choice.finish_reason)), maxlen=0)
        return self._complete(choice.finish_reason)

    def _events(self, delta: Delta) -> Iterator[ResponsesEvent]:
        if not self._started:
            self._started = True
            response = self._response("in_progress")
            yield ResponseEvent(type="response.created", response=response)
            yield ResponseEvent(type="response.in_progress", response=response)
        for event in self._said.take():
            yield from self._items.add(event)
        if delta.finish_reason is not None:
            yield from self._items.end_all(_status(delta.finish_reason))
            response = self._complete(delta.finish_reason)
            yield ResponseEvent(type=f"response.{response.status}", response=response)

    def _complete(self, finish_reason: str | None) -> ResponseObject:
        response = self._response(_status(finish_reason))
        response.incomplete_details = _INCOMPLETE.get(finish_reason or "")
        response.completed_at = int(time.time())
        response.output = self._items.output
        response.usage = _usage(self.usage())
        if self._asked.store:
            items = tuple(
                {"id": f"{item.type}_{self._suffix}_{place}", **item.listed()}
                for place, item in enumerate(self._asked.input)
            )
            stored = StoredResponse(response.to_json(), turns([*self._turns, *self._items.turns]), items)
            self._store.put(self._owner, self.job.id, stored)
        return response

    def _response(self, status: Status) -> ResponseObject:
        asked = self._asked
        choice = asked.tool_choice
        text_format = asked.text.format.model_dump(by_alias=True, exclude_none=True)
        return ResponseObject(
            id=self.job.id,
            created_at=self.job.created,
            status=status,
            model=self.job.model,
            instructions=asked.instructions,
            previous_response_id=asked.previous_response_id,
            max_output_tokens=asked.max_output_tokens,
            metadata=asked.metadata,
            parallel_tool_calls=asked.parallel_tool_calls,
            reasoning={"effort": asked.reasoning.effort, "summary": None},
            store=asked.store,
            temperature=asked.temperature,
            text={"format": text_format, "verbosity": "medium"},
            tool_choice=choice if isinstance(choice, str) else choice.model_dump(),
            tools=[tool.model_dump() for tool in asked.tools],
            top_p=asked.top_p,
            presence_penalty=asked.presence_penalty,
            frequency_penalty=asked.frequency_penalty,
            safety_identifier=asked.safety_identifier,
            prompt_cache_key=asked.prompt_cache_key,
        )


def _status(finish_reason: str | None) -> Status:
    return "incomplete" if finish_reason in _INCOMPLETE else "completed"


def _usage(counts: Usage) -> ResponsesUsage:
    prompt, completion = counts.prompt_tokens_details, counts.completion_tokens_details
    num_cached = 0 if prompt is None else prompt.cached_tokens or 0
    num_reasoning = 0 if completion is None else completion.reasoning_tokens or 0
    return ResponsesUsage(
        input_tokens=counts.prompt_tokens,
        input_tokens_details=InputTokensDetails(cached_tokens=num_cached),
        output_tokens=counts.completion_tokens,
        output_tokens_details=OutputTokensDetails(reasoning_tokens=num_reasoning),
        total_tokens=counts.total_tokens,
    )
