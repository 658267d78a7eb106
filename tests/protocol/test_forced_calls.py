"""The schema of an answer that has to call tools."""

from __future__ import annotations

import json

import pytest
from jsonschema import Draft202012Validator

from redline.protocol.chat import ChatRequest
from redline.protocol.forced_calls import calls_schema
from redline.protocol.tools import Tool

POINT = {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}
LINE = {
    "type": "object",
    "properties": {"ends": {"type": "array", "items": {"$ref": "#/$defs/Point"}}},
    "required": ["ends"],
    "$defs": {"Point": POINT, "Pair": {"anyOf": [{"$ref": "#/$defs/Point"}, {"type": "null"}]}},
}
SHIFT = {
    "properties": {"by": {"$ref": "#/definitions/Point"}},
    "definitions": {"Point": {"type": "integer"}},
}


def tool(name, parameters=None):
    function = {"name": name} | ({} if parameters is None else {"parameters": parameters})
    return Tool.model_validate({"type": "function", "function": function})


def is_valid(schema, *calls):
    return Draft202012Validator(schema).is_valid([{"name": name, "arguments": each} for name, each in calls])


def test_calls_of_offered_tools_with_their_arguments_and_nothing_else() -> None:
    schema = calls_schema([tool("line", LINE), tool("shift", SHIFT), tool("now")], 2)
    Draft202012Validator.check_schema(schema)
    assert is_valid(schema, ("line", {"ends": [{"x": 1}]}))
    assert is_valid(schema, ("shift", {"by": 3}), ("now", {}))
    assert not is_valid(schema)
    assert not is_valid(schema, ("now", {}), ("now", {}), ("now", {}))
    assert not is_valid(schema, ("line", {"ends": [{"y": 1}]}))
    assert not is_valid(schema, ("shift", {"by": {"x": 1}})), "the definition is that of the other tool"
    assert not is_valid(schema, ("later", {}))
    assert not Draft202012Validator(schema).is_valid([{"name": "now", "arguments": {}, "id": 1}])


def test_references_stay_among_the_parameters_of_their_tool() -> None:
    tree = {"properties": {"left": {"$ref": "#"}, "size": {"type": "integer"}}, "additionalProperties": False}
    twin = {"properties": {"a": {"type": "integer"}, "b": {"$ref": "#/properties/a"}}}
    schema = calls_schema([tool("line", LINE), tool("tree", tree), tool("twin", twin)], 1)
    assert '"#/$defs/Point"' not in json.dumps(schema)
    assert is_valid(schema, ("tree", {"left": {"left": {}, "size": 1}}))
    assert not is_valid(schema, ("tree", {"left": {"left": {"size": "x"}}}))
    assert is_valid(schema, ("twin", {"b": 2})) and not is_valid(schema, ("twin", {"b": "x"}))
    assert LINE["properties"]["ends"]["items"]["$ref"] == "#/$defs/Point", "the request stays as it was"


@pytest.mark.parametrize(
    ("choice", "names", "most"),
    [
        ("required", ["a", "b"], 16),
        ({"type": "function", "function": {"name": "b"}}, ["b"], 1),
        ("auto", [], None),
        ("none", [], None),
    ],
)
def test_a_request_says_which_tools_are_forced(choice, names, most) -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in "ab"]
    values = {"model": "m", "messages": [{"role": "user", "content": "x"}], "tools": tools}
    request = ChatRequest.parse({**values, "tool_choice": choice})
    assert [each.function.name for each in request.forced_tools] == names
    form = request.form
    assert (form is None) == (most is None)
    if form is not None:
        assert form.field == "tool_choice" and form.values["json"]["maxItems"] == most
        single = ChatRequest.parse({**values, "tool_choice": choice, "parallel_tool_calls": False}).form
        assert single is not None and single.values["json"]["maxItems"] == 1
