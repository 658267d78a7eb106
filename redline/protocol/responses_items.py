"""The items that the input of OpenAI's Responses API is made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, Tag, field_validator

from redline.protocol.tools import CallId, object_text
from redline.protocol.turns import Turn, call_turn, result_turn, text_turn, thought_turn
from redline.protocol.wire import RequestModel, by_type

OF_THE_CLIENT = frozenset({"id", "status", "phase", "created_by"})


class InputPart(RequestModel):
    """A part of what somebody said; `output_text` is what an answer called it."""

    ignored: ClassVar[frozenset[str]] = frozenset({"annotations", "logprobs", "prompt_cache_breakpoint"})

    type: Literal["input_text", "output_text"]
    text: str


InputParts = Annotated[list[InputPart], Field(min_length=1)]


class InputMessage(RequestModel):
    """One turn of the conversation, maybe an earlier answer."""

    ignored: ClassVar[frozenset[str]] = OF_THE_CLIENT

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: InputParts

    @field_validator("content", mode="before", json_schema_input_type=str | InputParts)
    @classmethod
    def _parts(cls, value: object) -> object:
        return [{"type": "input_text", "text": value}] if isinstance(value, str) else value

    def turn(self) -> Turn:
        """The item as a turn of a chat."""
        return text_turn(self.role, [part.text for part in self.content])

    def listed(self) -> dict[str, Any]:
        """The item as a list of them shows it, without an id."""
        kind = "output_text" if self.role == "assistant" else "input_text"
        more: dict[str, Any] = {"annotations": []} if self.role == "assistant" else {}
        parts = [{"type": kind, "text": part.text, **more} for part in self.content]
        return {"type": "message", "role": self.role, "status": "completed", "content": parts}


class InputCall(RequestModel):
    """A call that an earlier answer made."""

    ignored: ClassVar[frozenset[str]] = OF_THE_CLIENT | {"caller"}
    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {"namespace": ()}

    type: Literal["function_call"]
    call_id: CallId
    name: Annotated[str, Field(min_length=1, max_length=256)]
    arguments: str

    @field_validator("arguments")
    @classmethod
    def _an_object(cls, value: str) -> str:
        return object_text(value)

    def turn(self) -> Turn:
        """The item as a turn of a chat."""
        return call_turn(self.call_id, self.name, self.arguments)

    def listed(self) -> dict[str, Any]:
        """The item as a list of them shows it, without an id."""
        return {**self.model_dump(), "status": "completed"}


class InputResult(RequestModel):
    """What the tool answered to the call `call_id`."""

    ignored: ClassVar[frozenset[str]] = OF_THE_CLIENT | {"caller"}

    type: Literal["function_call_output"]
    call_id: CallId
    output: list[InputPart]

    @field_validator("output", mode="before", json_schema_input_type=str | list[InputPart])
    @classmethod
    def _parts(cls, value: object) -> object:
        return [{"type": "input_text", "text": value}] if isinstance(value, str) else value

    @property
    def text(self) -> str:
        """All of its parts."""
        return "\n".join(part.text for part in self.output)

    def turn(self) -> Turn:
        """The item as a turn of a chat."""
        return result_turn(self.call_id, self.text)

    def listed(self) -> dict[str, Any]:
        """The item as a list of them shows it, without an id."""
        return {"type": self.type, "call_id": self.call_id, "output": self.text, "status": "completed"}


class ReasoningPart(RequestModel):
    """A part of what an earlier answer thought."""

    type: Literal["reasoning_text", "text"]
    text: str


class InputReasoning(RequestModel):
    """What an earlier answer thought. Summaries are another's words, and nothing here is encrypted."""

    ignored: ClassVar[frozenset[str]] = OF_THE_CLIENT | {"summary"}
    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {"encrypted_content": ()}

    type: Literal["reasoning"]
    content: list[ReasoningPart] = []

    @property
    def text(self) -> str:
        """All of its parts."""
        return "\n".join(part.text for part in self.content)

    def turn(self) -> Turn:
        """The item as a turn of a chat."""
        return thought_turn(self.text)

    def listed(self) -> dict[str, Any]:
        """The item as a list of them shows it, without an id."""
        return {"type": "reasoning", "summary": [], "content": [part.model_dump() for part in self.content]}


InputItem = Annotated[
    Annotated[InputMessage, Tag("~message")]
    | Annotated[InputCall, Tag("~function_call")]
    | Annotated[InputResult, Tag("~function_call_output")]
    | Annotated[InputReasoning, Tag("~reasoning")],
    by_type("message", "function_call", "function_call_output", "reasoning", default="message"),
]


def item_turns(items: list[InputItem]) -> Iterator[Turn]:
    """What the items are in a chat; a thought that says nothing is none."""
    return (item.turn() for item in items if not isinstance(item, InputReasoning) or item.text)
