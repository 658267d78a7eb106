"""Tools in the Messages API: what a request offers, and what it wants called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from redline.protocol.anthropic_blocks import CACHING
from redline.protocol.tools import MAX_DESCRIPTION, NO_PARAMETERS, Name
from redline.protocol.wire import RequestModel, invalid

_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


class MessagesTool(RequestModel):
    """A function of the client. `strict` promises nothing while the model is free to call it or not."""

    ignored: ClassVar[frozenset[str]] = CACHING | {"eager_input_streaming", "strict"}
    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {
        "allowed_callers": (["direct"],),
        "defer_loading": (False,),
        "input_examples": ([],),
    }

    type: Literal["custom"] = "custom"
    name: Name
    description: Annotated[str, Field(max_length=MAX_DESCRIPTION)] = ""
    input_schema: dict[str, Any] = NO_PARAMETERS

    @field_validator("input_schema")
    @classmethod
    def _of_an_object(cls, value: dict[str, Any]) -> dict[str, Any]:
        if value and value.get("type", "object") != "object":
            raise invalid("schema", "it should be the JSON schema of an object", "type", value)
        return value

    def for_chat(self) -> dict[str, Any]:
        """The tool as chat completions have it."""
        function = {"name": self.name, "description": self.description, "parameters": self.input_schema}
        return {"type": "function", "function": function}


class MessagesToolChoice(RequestModel):
    """auto: the model decides; any: it calls some tool; tool: the one that is named; none: it calls none."""

    type: Literal["auto", "any", "tool", "none"] = "auto"
    name: Name | None = None
    disable_parallel_tool_use: bool = False

    def for_chat(self) -> dict[str, Any]:
        """The fields of a chat completion that say the same."""
        choice: Any = _CHOICES.get(self.type, {"type": "function", "function": {"name": self.name}})
        return {"tool_choice": choice, "parallel_tool_calls": not self.disable_parallel_tool_use}
