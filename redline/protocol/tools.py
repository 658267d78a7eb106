"""Tools: what a request offers, what an assistant called, and what the answer says about it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, Tag, field_validator

from redline.errors import RequestError
from redline.protocol.wire import RequestModel, ResponseModel, by_type, invalid, parse_json

MAX_TOOLS = 128
MAX_DESCRIPTION = 32_768
NO_PARAMETERS = {"type": "object", "properties": {}}

Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,128}$")]
CallId = Annotated[str, Field(min_length=1, max_length=256)]


class FunctionDefinition(RequestModel):
    """A function that may be called. `parameters` is a JSON schema of an object; without it there are none.

    `strict` is accepted because clients' libraries set it unasked; it promises nothing here.
    """

    name: Name
    description: Annotated[str, Field(max_length=MAX_DESCRIPTION)] = ""
    parameters: dict[str, Any] = NO_PARAMETERS
    strict: bool = False

    @field_validator("parameters")
    @classmethod
    def _of_an_object(cls, value: dict[str, Any]) -> dict[str, Any]:
        if value and value.get("type", "object") != "object":
            raise invalid("schema", "it should be the JSON schema of an object", "type", value)
        return value


def different_names(names: list[str]) -> None:
    """Raises what `invalid` makes when two tools have one name."""
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise invalid("twice", f"each should have a name of its own, and two are called {twice}")


class Tool(RequestModel):
    """Only functions can be offered."""

    type: Literal["function"]
    function: FunctionDefinition

    def for_template(self) -> dict[str, Any]:
        """The tool as chat templates know it."""
        function = self.function
        known = {
            "name": function.name,
            "description": function.description,
            "parameters": function.parameters,
        }
        return {"type": "function", "function": known}


class FunctionName(RequestModel):
    """Which function."""

    name: Name


class NamedTool(RequestModel):
    """A `tool_choice` that leaves no choice."""

    type: Literal["function"]
    function: FunctionName


class AllowedTools(RequestModel):
    """Some of the tools, and whether one of them has to be called."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedTool], Field(min_length=1, max_length=MAX_TOOLS)]


class AllowedChoice(RequestModel):
    """A `tool_choice` that leaves some of the tools."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("~word")]
    | Annotated[NamedTool, Tag("~function")]
    | Annotated[AllowedChoice, Tag("~allowed_tools")],
    by_type("function", "allowed_tools", other="word"),
]


class PastFunction(RequestModel):
    """What an earlier answer called. `arguments` is the JSON text of an object, as that answer had it."""

    name: Annotated[str, Field(min_length=1, max_length=256)]
    arguments: str

    @field_validator("arguments")
    @classmethod
    def _an_object(cls, value: str) -> str:
        return object_text(value)


class PastCall(RequestModel):
    """A call in an assistant's message."""

    id: CallId
    type: Literal["function"] = "function"
    function: PastFunction

    def for_template(self) -> dict[str, Any]:
        """The call as chat templates know it: its arguments are an object, not text."""
        function = {"name": self.function.name, "arguments": _parsed(self.function.arguments)}
        return {"id": self.id, "type": "function", "function": function}


class CalledFunction(ResponseModel):
    """A function and its arguments, JSON text as the model wrote it; in a stream, a piece of either."""

    name: str | None = None
    arguments: str | None = None


class ToolCall(ResponseModel):
    """A call in an answer."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class ToolCallDelta(ResponseModel):
    """What a chunk adds to call `index`; the first one of each has id, type and name."""

    index: int
    id: str | None = None
    type: str | None = None
    function: CalledFunction | None = None


def object_text(value: str) -> str:
    """The same text. For validators: raises PydanticCustomError unless it is the JSON of an object."""
    if not isinstance(_parsed(value), dict):
        raise invalid("arguments", "it should be the JSON text of an object")
    return value


def _parsed(arguments: str) -> Any:
    """An empty text means no arguments. None: it is no JSON."""
    if not arguments.strip():
        return {}
    try:
        return parse_json(arguments.encode())
    except RequestError:
        return None
