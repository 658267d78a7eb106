"""The messages of a conversation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Field, field_validator, model_validator

from redline.protocol.tools import MAX_TOOLS, CallId, PastCall
from redline.protocol.wire import RequestModel, invalid


class TextPart(BaseModel):
    """A part of a content that is a list; for the description of the API."""

    type: Literal["text"]
    text: str


class ChatMessage(RequestModel):
    """One turn of a conversation. Content given as a list of text parts is joined by line breaks.

    An assistant's message may have `tool_calls` or reasoning in place of content; one of the role `tool`
    gives the result of the call `tool_call_id`. `reasoning` and `reasoning_content` are names of one thing.
    """

    ignored: ClassVar[frozenset[str]] = frozenset({"refusal", "annotations"})
    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {"function_call": (), "audio": ()}

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | None = None
    name: Annotated[str, Field(max_length=256)] | None = None
    tool_calls: Annotated[list[PastCall], Field(max_length=MAX_TOOLS)] = []
    tool_call_id: CallId | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None

    @field_validator("content", mode="before", json_schema_input_type=str | list[TextPart] | None)
    @classmethod
    def _join_parts(cls, value: object) -> object:
        if not isinstance(value, list):
            return value
        return "\n".join(_text_of(part) for part in value)

    @model_validator(mode="after")
    def _fits_its_role(self) -> ChatMessage:
        if self.tool_calls and self.role != "assistant":
            calls = {"tool_calls": [call.function.name for call in self.tool_calls]}
            advice = f"only an assistant makes calls, and the role is {self.role}"
            raise invalid("role", advice, "tool_calls", calls)
        if self.role == "tool" and self.tool_call_id is None:
            raise invalid("missing", "", "tool_call_id")
        if self.content is None and not (self.role == "assistant" and (self.tool_calls or self.thoughts)):
            raise invalid("missing", "", "content")
        return self

    @property
    def thoughts(self) -> str | None:
        """The reasoning behind an assistant's message."""
        return self.reasoning_content if self.reasoning is None else self.reasoning

    def for_template(self) -> dict[str, Any]:
        """The message as chat templates know it: `developer` is OpenAI's newer name of `system`."""
        role = "system" if self.role == "developer" else self.role
        message: dict[str, Any] = {"role": role, "content": self.content or ""}
        if self.tool_calls:
            message["tool_calls"] = [call.for_template() for call in self.tool_calls]
        if self.name is not None:
            message["name"] = self.name
        if self.role == "tool":
            message["tool_call_id"] = self.tool_call_id
        if self.role == "assistant" and self.thoughts is not None:
            message["reasoning"] = message["reasoning_content"] = self.thoughts
        return message


def check_order(messages: Sequence[ChatMessage]) -> None:
    """Raises what `invalid` makes unless each result of a tool follows the call that it answers."""
    called: set[str] = set()
    for place, message in enumerate(messages):
        called.update(call.id for call in message.tool_calls)
        if message.role == "tool" and message.tool_call_id not in called:
            name = f"messages[{place}].tool_call_id"
            advice = "it should be the id of a call in an assistant's message before it"
            raise invalid("order", advice, name, {name: message.tool_call_id})


def _text_of(part: object) -> str:
    if not isinstance(part, dict):
        raise invalid("content", "each part should be an object")
    if part.get("type") != "text":
        raise invalid("content", "only parts of type 'text' are supported")
    text = part.get("text")
    if not isinstance(text, str):
        raise invalid("content", "a text part needs a string in 'text'")
    return text
