"""MessageBlocks: the content of one message of the Messages API while it grows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic_core import from_json

from redline.parsing.events import CallArguments, CallStart, Content, Event, Reasoning
from redline.protocol.anthropic_answers import (
    BlockDelta,
    BlockStart,
    BlockStop,
    ContentBlock,
    InputJSONDelta,
    TextContent,
    TextDelta,
    ThinkingContent,
    ThinkingDelta,
    ToolUseContent,
)
from redline.protocol.wire import ResponseModel


class MessageBlocks:
    """Turns what an answer says into blocks, and into the events that tell of them.

    One block is open at a time, and begins when there is something in it.
    """

    def __init__(self) -> None:
        self.content: list[ContentBlock] = []  # complete ones
        self._open: ContentBlock | None = None
        self._pieces: list[str] = []

    def add(self, event: Event) -> Iterator[ResponseModel]:
        """What is said next."""
        match event:
            case Content(text):
                if not isinstance(self._open, TextContent):
                    yield from self._begin(TextContent(text=""))
                yield self._more(text, TextDelta(text=text))
            case Reasoning(text):
                if not isinstance(self._open, ThinkingContent):
                    yield from self._begin(ThinkingContent(thinking=""))
                yield self._more(text, ThinkingDelta(thinking=text))
            case CallStart(_, name, call_id):
                yield from self._begin(ToolUseContent(id=call_id or "", name=name))
            case CallArguments(_, text):
                yield self._more(text, InputJSONDelta(partial_json=text))

    def end(self) -> Iterator[ResponseModel]:
        """Nothing more is said, or nothing more in this block."""
        if self._open is None:
            return
        text, self._pieces = "".join(self._pieces), []
        match self._open:
            case TextContent():
                self._open.text = text
            case ThinkingContent():
                self._open.thinking = text
            case ToolUseContent():
                self._open.input = _object(text)
        yield BlockStop(index=len(self.content))
        self.content.append(self._open)
        self._open = None

    def _begin(self, block: ContentBlock) -> Iterator[ResponseModel]:
        yield from self.end()
        self._open = block
        yield BlockStart(index=len(self.content), content_block=block.model_copy())

    def _more(self, text: str, delta: TextDelta | ThinkingDelta | InputJSONDelta) -> ResponseModel:
        self._pieces.append(text)
        return BlockDelta(index=len(self.content), delta=delta)


def _object(arguments: str) -> dict[str, Any]:
    """The arguments of a call; of those that were cut off, or are no JSON, as much as can be read."""
    try:
        value = from_json(arguments or "{}", allow_partial=True, allow_inf_nan=False)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
