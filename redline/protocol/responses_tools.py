"""Functions in the Responses API, which says flat what chat completions nest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, Tag, model_validator

from redline.protocol.tools import FunctionDefinition, Name
from redline.protocol.wire import RequestModel, by_type, invalid


class FunctionTool(FunctionDefinition):
    """A function of the client; tools of other types, which a server would have to run, are refused."""

    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {
        "defer_loading": (False,),
        "allowed_callers": (["direct"],),
        "output_schema": (),
    }

    type: Literal["function"]

    @model_validator(mode="before")
    @classmethod
    def _of_the_client(cls, data: Any) -> Any:
        """Before what is missing is named: tools of other types have other members."""
        if isinstance(data, dict) and isinstance(data.get("type"), str) and data["type"] != "function":
            raise invalid("unsupported", "only tools of type 'function' are supported", "type", data)
        return data

    def for_chat(self) -> dict[str, Any]:
        """The tool as chat completions have it."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": {**function, "strict": self.strict}}


class NamedFunction(RequestModel):
    """A `tool_choice` that leaves no choice."""

    type: Literal["function"]
    name: Name

    def for_chat(self) -> dict[str, Any]:
        """The same for a chat completion."""
        return {"type": "function", "function": {"name": self.name}}


class AllowedFunctions(RequestModel):
    """A `tool_choice` that leaves some of the tools."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedFunction], Field(min_length=1)]

    def for_chat(self) -> dict[str, Any]:
        """The same for a chat completion."""
        allowed = {"mode": self.mode, "tools": [tool.for_chat() for tool in self.tools]}
        return {"type": "allowed_tools", "allowed_tools": allowed}


FunctionChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("~word")]
    | Annotated[NamedFunction, Tag("~function")]
    | Annotated[AllowedFunctions, Tag("~allowed_tools")],
    by_type("function", "allowed_tools", other="word"),
]
