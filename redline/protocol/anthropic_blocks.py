"""The blocks that a turn of the Messages API is made of."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, Tag, field_validator

from redline.protocol.tools import CallId
from redline.protocol.turns import Turn, call_turn, result_turn, text_turn, thought_turn
from redline.protocol.wire import RequestModel, by_type

CACHING = frozenset({"cache_control"})  # prompts are cached without being asked to


class TextBlock(RequestModel):
    """A part of what somebody said."""

    ignored: ClassVar[frozenset[str]] = CACHING | {"citations"}

    type: Literal["text"]
    text: Annotated[str, Field(min_length=1)]

    def turn(self, role: str) -> Turn:
        """The block as a turn of a chat."""
        return text_turn(role, [self.text])


class ThinkingBlock(RequestModel):
    """What an earlier answer thought. Nothing here is signed, so `signature` is not looked at."""

    ignored: ClassVar[frozenset[str]] = CACHING | {"signature"}

    type: Literal["thinking"]
    thinking: str

    def turn(self, role: str) -> Turn:
        """The block as a turn of a chat."""
        return thought_turn(self.thinking)


class ToolUseBlock(RequestModel):
    """A call in an earlier answer."""

    ignored: ClassVar[frozenset[str]] = CACHING | {"caller"}

    type: Literal["tool_use"]
    id: CallId
    name: Annotated[str, Field(min_length=1, max_length=256)]
    input: dict[str, Any]

    def turn(self, role: str) -> Turn:
        """The block as a turn of a chat."""
        return call_turn(self.id, self.name, json.dumps(self.input, ensure_ascii=False))


class ResultText(RequestModel):
    """A part of what a tool answered."""

    ignored: ClassVar[frozenset[str]] = CACHING | {"citations"}

    type: Literal["text"]
    text: str


class ToolResultBlock(RequestModel):
    """What the tool answered to the call `tool_use_id`. Of an error the model is told that it is one."""

    ignored: ClassVar[frozenset[str]] = CACHING

    type: Literal["tool_result"]
    tool_use_id: CallId
    content: list[ResultText] = []
    is_error: bool = False

    @field_validator("content", mode="before", json_schema_input_type=str | list[ResultText])
    @classmethod
    def _parts(cls, value: object) -> object:
        return as_blocks(value)

    def turn(self, role: str) -> Turn:
        """The block as a turn of a chat."""
        text = "\n".join(part.text for part in self.content)
        return result_turn(self.tool_use_id, f"Error: {text}" if self.is_error else text)


Block = Annotated[
    Annotated[TextBlock, Tag("~text")]
    | Annotated[ThinkingBlock, Tag("~thinking")]
    | Annotated[ToolUseBlock, Tag("~tool_use")]
    | Annotated[ToolResultBlock, Tag("~tool_result")],
    by_type("text", "thinking", "tool_use", "tool_result"),
]

ALLOWED: Mapping[str, tuple[type[RequestModel], ...]] = {
    "user": (TextBlock, ToolResultBlock),
    "assistant": (TextBlock, ThinkingBlock, ToolUseBlock),
    "system": (TextBlock,),
}


def as_blocks(value: object) -> object:
    """A string is short for a list of one text block."""
    return [{"type": "text", "text": value}] if isinstance(value, str) else value


def block_turns(role: str, blocks: list[Block]) -> Iterator[Turn]:
    """What `role` says, block by block."""
    return (block.turn(role) for block in blocks)
