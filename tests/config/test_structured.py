"""StructuredOutputsParams: one form, checked before anything is compiled."""

import json
from types import MappingProxyType

import pytest

from redline import SamplingParams, StructuredOutputsParams
from redline.config.structured import MAX_GRAMMAR_BYTES
from redline.errors import RequestError


def test_a_schema_may_be_an_object_or_its_text():
    schema = {"type": "object", "properties": {"z": {}, "a": {"enum": ["\u00fc"]}}}
    forms = [schema, MappingProxyType(schema), json.dumps(schema)]
    assert {StructuredOutputsParams(json=form).source for form in forms} == {json.dumps(schema)}
    assert StructuredOutputsParams(json_object=True).source == '{"type": "object"}'


def test_forms_that_match_other_texts_are_told_apart():
    forms = [
        StructuredOutputsParams(regex="a"),
        StructuredOutputsParams(grammar="a"),
        StructuredOutputsParams(json={}, whitespace_pattern=" "),
        StructuredOutputsParams(json={}),
    ]
    assert len({(each.form, each.source, each.whitespace_pattern) for each in forms}) == 4


deep: list = []
for _ in range(100_000):
    deep = [deep]


@pytest.mark.parametrize(
    ("values", "param", "said"),
    [
        ({}, "", "no form"),
        ({"json_object": False}, "", "no form"),
        ({"regex": "a", "json": {}}, "", "json and regex"),
        ({"json": [1]}, ".json", "JSON object"),
        ({"json": "{"}, ".json", "JSON"),
        ({"json": {"minimum": float("nan")}}, ".json", "JSON"),
        ({"json": {"enum": [object()]}}, ".json", "JSON"),
        ({"json": "[" * 100_000}, ".json", "deeply"),
        ({"json": {"enum": deep}}, ".json", "deeply"),
        ({"json": {"enum": ["x" * MAX_GRAMMAR_BYTES]}}, ".json", "bytes"),
        ({"json_object": "yes"}, ".json_object", "true or false"),
        ({"regex": ""}, ".regex", "one character"),
        ({"regex": 5}, ".regex", "text"),
        ({"regex": "\ud800"}, ".regex", "surrogate"),
        ({"regex": "x" * (MAX_GRAMMAR_BYTES + 1)}, ".regex", "bytes"),
        ({"grammar": b"a"}, ".grammar", "text"),
        ({"choice": []}, ".choice", "one text or more"),
        ({"choice": "abc"}, ".choice", "one text or more"),
        ({"choice": ["a", ""]}, ".choice", "empty"),
        ({"choice": ["a", "\udfff"]}, ".choice", "surrogate"),
        ({"structural_tag": True}, ".structural_tag", "JSON object"),
        ({"json": {}, "whitespace_pattern": ""}, ".whitespace_pattern", "one character"),
    ],
)
def test_what_is_wrong_is_named(values, param, said):
    with pytest.raises(RequestError, match=said) as caught:
        StructuredOutputsParams(**values)
    assert caught.value.param == "structured_outputs" + param


@pytest.mark.parametrize(
    ("values", "param"),
    [
        ({"structured_outputs": {"regex": "a"}}, "structured_outputs"),
        ({"structured_outputs": StructuredOutputsParams(regex="a"), "ignore_eos": True}, "ignore_eos"),
        ({"structured_outputs": StructuredOutputsParams(regex="a"), "min_tokens": 1}, "min_tokens"),
    ],
)
def test_what_contradicts_a_form_is_refused(values, param):
    with pytest.raises(RequestError) as caught:
        SamplingParams(**values)
    assert caught.value.param == param
