"""ResponseItems: the output of one response of the Responses API while it grows."""

from __future__ import annotations

from collections.abc import Iterator

from redline.parsing.events import CallArguments, CallStart, Content, Event, Reasoning
from redline.protocol.responses_answers import (
    ArgumentsDeltaEvent,
    ArgumentsDoneEvent,
    ItemEvent,
    OutputCall,
    OutputItem,
    OutputMessage,
    OutputReasoning,
    OutputText,
    PartEvent,
    ReasoningDeltaEvent,
    ReasoningDoneEvent,
    ReasoningText,
    ResponsesEvent,
    Status,
    TextDeltaEvent,
    TextDoneEvent,
)
from redline.protocol.turns import Turn, call_turn, text_turn, thought_turn, turns


class ResponseItems:
    """Turns what an answer says into items, and into the events that tell of them.

    One item is open at a time, and begins when there is something in it. `suffix` makes their ids unique.
    """

    def __init__(self, suffix: str) -> None:
        self.output: list[OutputItem] = []  # complete ones
        self._suffix = suffix
        self._open: OutputItem | None = None
        self._pieces: list[str] = []

    def add(self, event: Event) -> Iterator[ResponsesEvent]:
        """What is said next."""
        match event:
            case Content(text):
                if not isinstance(self._open, OutputMessage):
                    yield from self._begin(OutputMessage(id=self._id("msg"), status="in_progress"))
                yield self._more(text)
            case Reasoning(text):
                if not isinstance(self._open, OutputReasoning):
                    yield from self._begin(OutputReasoning(id=self._id("rs"), status="in_progress"))
                yield self._more(text)
            case CallStart(_, name, call_id):
                yield from self._begin(
                    OutputCall(id=self._id("fc"), status="in_progress", call_id=call_id or "", name=name)
                )
            case CallArguments(_, text):
                yield self._more(text)

    def end(self, status: Status = "completed") -> Iterator[ResponsesEvent]:
        """Nothing more is said, or nothing more in this item."""
        item, self._open = self._open, None
        if item is None:
            return
        text, self._pieces = "".join(self._pieces), []
        yield from self._done(item, text)
        item.status = status
        yield ItemEvent(type="response.output_item.done", output_index=self._index, item=item)
        self.output.append(item)

    def end_all(self, status: Status) -> Iterator[ResponsesEvent]:
        """The answer is over; one that says nothing is a message without text."""
        if self._open is None and not self.output:
            yield from self._begin(OutputMessage(id=self._id("msg"), status="in_progress"))
        yield from self.end(status)

    @property
    def turns(self) -> list[Turn]:
        """The items in a chat."""
        return turns(turn for item in self.output for turn in _turns(item))

    @property
    def _index(self) -> int:
        return len(self.output)

    def _id(self, prefix: str) -> str:
        return f"{prefix}_{self._suffix}_{self._index + (self._open is not None)}"

    def _begin(self, item: OutputItem) -> Iterator[ResponsesEvent]:
        yield from self.end()
        self._open = item
        shown = item.model_copy()
        yield ItemEvent(type="response.output_item.added", output_index=self._index, item=shown)
        if not isinstance(item, OutputCall):
            part = OutputText() if isinstance(item, OutputMessage) else ReasoningText()
            yield self._part(item.id, "added", part)

    def _done(self, item: OutputItem, text: str) -> Iterator[ResponsesEvent]:
        item_id, index = item.id, self._index
        match item:
            case OutputMessage():
                item.content = [OutputText(text=text)]
                kind = "response.output_text.done"
                yield TextDoneEvent(type=kind, item_id=item_id, output_index=index, text=text)
                yield self._part(item_id, "done", item.content[0])
            case OutputReasoning():
                item.content = [ReasoningText(text=text)]
                kind = "response.reasoning_text.done"
                yield ReasoningDoneEvent(type=kind, item_id=item_id, output_index=index, text=text)
                yield self._part(item_id, "done", item.content[0])
            case OutputCall(name=name):
                item.arguments = text
                kind = "response.function_call_arguments.done"
                yield ArgumentsDoneEvent(
                    type=kind, item_id=item_id, output_index=index, name=name, arguments=text
                )

    def _part(self, item_id: str, what: str, part: OutputText | ReasoningText) -> ResponsesEvent:
        kind = f"response.content_part.{what}"
        return PartEvent(type=kind, item_id=item_id, output_index=self._index, part=part)

    def _more(self, text: str) -> ResponsesEvent:
        """The open item grows."""
        assert self._open is not None, f"{text = }"
        self._pieces.append(text)
        item_id, index = self._open.id, self._index
        match self._open:
            case OutputMessage():
                kind = "response.output_text.delta"
                return TextDeltaEvent(type=kind, item_id=item_id, output_index=index, delta=text)
            case OutputReasoning():
                kind = "response.reasoning_text.delta"
                return ReasoningDeltaEvent(type=kind, item_id=item_id, output_index=index, delta=text)
            case OutputCall():
                kind = "response.function_call_arguments.delta"
                return ArgumentsDeltaEvent(type=kind, item_id=item_id, output_index=index, delta=text)


def _turns(item: OutputItem) -> Iterator[Turn]:
    match item:
        case OutputMessage(content=parts):
            yield text_turn("assistant", [part.text for part in parts])
        case OutputReasoning(content=thoughts):
            yield thought_turn("\n".join(thought.text for thought in thoughts))
        case OutputCall(call_id=call_id, name=name, arguments=arguments):
            yield call_turn(call_id, name, arguments)
