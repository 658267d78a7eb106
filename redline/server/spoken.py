"""Spoken: what one answer says, in the order in which the model says it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from redline.parsing.choose import OutputFormat
from redline.parsing.events import CallArguments, CallStart, Content, Event, Reasoning, join_neighbours
from redline.parsing.parser import NullParser, Parser
from redline.protocol.chat import ChatRequest
from redline.protocol.wire import ResponseModel
from redline.server.answer import Answer
from redline.server.engine import ServedTokenizer
from redline.server.job import Job

if TYPE_CHECKING:
    from redline.engine.outputs import Delta

PROMPT_END_TOKENS = 16  # in which a template's own <think> is looked for


class Spoken:
    """Reads the text of one answer, and keeps what the client has not got yet.

    Left out are reasoning that nobody wants to see, and calls beyond `max_calls`. Every call has an id.
    """

    def __init__(
        self,
        parser: Parser,
        new_call_id: Callable[[], str],
        *,
        with_reasoning: bool = True,
        max_calls: int | None = None,
    ) -> None:
        self.plain = isinstance(parser, NullParser)  # all text is content
        self.called = False
        self.num_reasoning_tokens = 0
        self._parser = parser
        self._new_call_id = new_call_id
        self._with_reasoning = with_reasoning
        self._max_calls = max_calls
        self._events: list[Event] = []

    def add(self, delta: Delta) -> None:
        """Take the next piece of text; the last one has a finish reason."""
        thought = self._parser.thinking
        if delta.text:
            self._keep(self._parser.push(delta.text))
        if thought or self._parser.thinking:
            self.num_reasoning_tokens += len(delta.token_ids)
        if delta.finish_reason is not None:
            self._keep(self._parser.finish())

    def take(self) -> list[Event]:
        """What came since the last time."""
        events, self._events = self._events, []
        return join_neighbours(events)

    def finish_reason(self, reason: str | None) -> str | None:
        """An answer with calls that came to its own end waits for their results."""
        return "tool_calls" if reason == "stop" and self.called else reason

    def _keep(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case Content(text) if text:
                    self._events.append(event)
                case Reasoning(text) if text and self._with_reasoning:
                    self._events.append(event)
                case CallStart(index, name, call_id) if self._wanted(index):
                    self.called = True
                    self._events.append(CallStart(index, name, call_id or self._new_call_id()))
                case CallArguments(index) if self._wanted(index):
                    self._events.append(event)

    def _wanted(self, index: int) -> bool:
        return self._max_calls is None or index < self._max_calls


def spoken(request: ChatRequest, job: Job, tokenizer: ServedTokenizer, output_format: OutputFormat) -> Spoken:
    """What reads one answer to a request."""
    names = frozenset(tool.function.name for tool in request.offered_tools)
    before = ""
    if output_format.reasoning is not None:  # some templates begin the reasoning themselves
        before = tokenizer.decode(job.prompts[0][-PROMPT_END_TOKENS:], skip_special_tokens=False)
    return Spoken(
        output_format.parser(names, before),
        output_format.new_call_id,
        with_reasoning=request.include_reasoning,
        max_calls=None if request.parallel_tool_calls else 1,
    )


class SpokenAnswer(Answer[ChatRequest]):
    """One choice, told in the words of another API than that of chat completions."""

    def __init__(self, request: ChatRequest, job: Job, tokenizer: ServedTokenizer, said: Spoken) -> None:
        super().__init__(request, job, tokenizer)
        self._said = said

    def count(self, prompt: int, delta: Delta) -> None:
        super().count(prompt, delta)
        self._said.add(delta)

    @property
    def num_reasoning_tokens(self) -> int:
        return self._said.num_reasoning_tokens

    def usage_chunk(self) -> ResponseModel:
        """These APIs have no such chunk: their last events have the usage."""
        raise AssertionError(f"{self.request.stream_options = }")
