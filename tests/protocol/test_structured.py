"""The fields of four APIs that ask for a form, and what they stand for."""

import pytest

from redline import StructuredOutputsParams
from redline.protocol.chat import ChatRequest
from redline.protocol.completions import CompletionRequest
from redline.server.structured import structured_outputs

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
TAGS = {"structures": [{"begin": "<f>", "schema": SCHEMA, "end": "</f>"}], "triggers": ["<f"]}


@pytest.mark.parametrize(
    ("fields", "form"),
    [
        ({}, None),
        ({"response_format": {"type": "text"}}, None),
        ({"grammar": ""}, None),
        ({"response_format": {"type": "text"}, "regex": "a"}, {"regex": "a"}),
        ({"response_format": {"type": "json_object"}}, {"json_object": True}),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x", "strict": True, "description": "y", "schema": SCHEMA},
                }
            },
            {"json": SCHEMA},
        ),
        ({"response_format": {"type": "structural_tag", **TAGS}}, {"structural_tag": TAGS}),
        ({"structured_outputs": {"json": SCHEMA, "disable_fallback": True}}, {"json": SCHEMA}),
        (
            {"structured_outputs": {"choice": ["a"], "regex": None, "whitespace_pattern": " "}},
            {"choice": ["a"], "whitespace_pattern": " "},
        ),
        ({"guided_json": SCHEMA}, {"json": SCHEMA}),
        (
            {"guided_json": "{}", "guided_whitespace_pattern": " ?"},
            {"json": {}, "whitespace_pattern": " ?"},
        ),
        ({"guided_regex": "a+"}, {"regex": "a+"}),
        ({"guided_choice": ["a", "b"]}, {"choice": ["a", "b"]}),
        ({"guided_grammar": "root ::= x"}, {"grammar": "root ::= x"}),
        ({"regex": "a+"}, {"regex": "a+"}),
        ({"ebnf": "root ::= x"}, {"grammar": "root ::= x"}),
        ({"grammar": "root ::= x"}, {"grammar": "root ::= x"}),
        ({"json_schema": SCHEMA}, {"json": SCHEMA}),
        ({"json_schema": '{"type": "null"}'}, {"json": {"type": "null"}}),
    ],
)
def test_what_a_field_stands_for(fields, form):
    expected = None if form is None else StructuredOutputsParams(**form)
    chat = ChatRequest.parse({"model": "m", "messages": [{"role": "user", "content": "x"}], **fields})
    completion = CompletionRequest.parse({"model": "m", "prompt": "x", **fields})
    assert structured_outputs(chat) == structured_outputs(completion) == expected
