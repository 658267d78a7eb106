"""The description of the API: all routes, all fields, and nothing that the server does not keep to."""

import json

import jsonschema
import pytest

from redline.protocol.wire import RequestModel
from redline.server import app as app_module
from redline.server.config import ServerConfig
from redline.server.http_metrics import HttpMetrics
from redline.server.openapi import ANSWERS, Operation
from redline.server.pool.app import pool_app
from redline.server.response_store import ResponseStore
from redline.server.service import Service
from tests.server.fake_engine import FakeEngine
from tests.server.running_server import RunningServer


class FakePool:
    """As much of a pool as its routes are made of."""

    server_config = ServerConfig()
    responses = ResponseStore()
    explain = watched = None


HOSTILE = [[[{"hostile": []}]]]  # no field is like it
MEMBERS = {  # what requests need, one or another
    "model": "fake-model",
    "messages": [{"role": "user", "content": "x"}],
    "max_tokens": 1,
    "prompt": "x",
    "input": "x",
    "tokens": [1],
    "text_1": "x",
    "text_2": ["x", "y"],
    "query": "x",
    "documents": ["x", {"text": "y"}],
}


def described(**config):
    app = app_module.api(Service(FakeEngine(), ServerConfig(**config)), HttpMetrics())
    routes = app.router.routes
    (endpoint,) = (route.endpoint for route in routes if route.path == "/openapi.json")
    return routes, endpoint.__self__.document


ROUTES, DOCUMENT = described()
OPERATIONS = [
    Operation(route, method)
    for route in ROUTES
    if route.include_in_schema
    for method in sorted(route.methods or ())
    if method != "HEAD"
]
WITH_BODY = [operation for operation in OPERATIONS if operation.request_type is not None]


def resolved(schema):
    while "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def body_of(operation):
    content = DOCUMENT["paths"][operation.path][operation.method.lower()]["requestBody"]["content"]
    return resolved(content["application/json"]["schema"])


def needed_by(operation):
    """The smallest body."""
    schema = body_of(operation)
    needed = [*schema.get("required", []), *("text_1", "text_2") * ("text_1" in schema["properties"])]
    return {name: MEMBERS[name] for name in needed}


def test_every_route_and_method_is_described_and_says_what_it_answers():
    for operation in OPERATIONS:
        told = DOCUMENT["paths"][operation.path][operation.method.lower()]
        succeeds = ANSWERS[operation.method, operation.path].succeeds
        assert told["responses"].keys() == ({"200", "default"} if succeeds else {"default"})
        assert told["description"]
    assert sum(len(methods) for methods in DOCUMENT["paths"].values()) == len(OPERATIONS)
    assert ANSWERS.keys() == {(operation.method, operation.path) for operation in OPERATIONS}
    ids = [told["operationId"] for path in DOCUMENT["paths"].values() for told in path.values()]
    assert len(ids) == len(set(ids))


def test_every_field_of_every_body_is_described():
    for operation in WITH_BODY:
        kind = operation.request_type
        assert issubclass(kind, RequestModel)
        names = {field.alias or name for name, field in kind.model_fields.items()}
        names |= set(getattr(kind, "newer_names", {}).values())
        assert body_of(operation)["properties"].keys() == names | kind.unsupported.keys() | kind.ignored


def test_every_schema_is_one_and_all_references_lead_somewhere():
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    text = json.dumps(DOCUMENT)
    for name in {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in DOCUMENT["components"]["schemas"], name


@pytest.mark.parametrize("operation", WITH_BODY, ids=lambda operation: operation.path)
def test_the_server_knows_every_field_that_is_described(server, operation):
    """The description is of what an endpoint reads, not of a type beside it."""
    for name, schema in body_of(operation)["properties"].items():
        if schema == {}:
            continue  # ignored, whatever it is
        members = {**needed_by(operation), name: HOSTILE}
        status, _, answer = server.post(operation.path, members)
        error = json.loads(answer)["error"]
        assert status == 400 and name in error["message"], (name, answer)


@pytest.mark.parametrize("operation", WITH_BODY, ids=lambda operation: operation.path)
def test_null_is_described_where_it_equals_absence(operation):
    schema = body_of(operation)
    validator = jsonschema.Draft202012Validator({**DOCUMENT, **schema})
    given = needed_by(operation)
    validator.validate({**given, **dict.fromkeys(schema["properties"].keys() - given.keys())})
    for name in schema.get("required", []):
        assert not validator.is_valid({**given, name: None})


CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
USE = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
ASKED = {"role": "user", "content": "x"}


def chosen(choice):
    tool = {"type": "function", "function": {"name": "f"}}
    return {"messages": [ASKED], "tools": [tool], "tool_choice": choice}


def result_is(content):
    result = {"type": "tool_result", "tool_use_id": "t", "content": content}
    spoken = [{"role": "assistant", "content": [USE]}, {"role": "user", "content": [result]}]
    return {"max_tokens": 1, "messages": [ASKED, *spoken]}


FORMS = [
    ("/v1/score", {"text_1": "x", "text_2": "y"}, True),
    ("/v1/score", {"text_1": ["x"], "documents": ["y", "z"]}, True),
    ("/v1/score", {"queries": "x", "documents": "y", "text_1": None}, True),
    ("/v1/score", {"queries": "x", "text_1": "x", "documents": "y"}, False),
    ("/v1/score", {"queries": "x", "documents": None}, False),
    ("/v1/score", {"text_1": "x", "text_2": []}, False),
    ("/v1/score", {"text_1": "x", "text_2": [{"text": "y"}]}, False),
    ("/rerank", {"query": "x", "documents": ["y", {"text": "z", "title": 1}]}, True),
    ("/rerank", {"query": "x", "documents": [{"title": "y"}]}, False),
    ("/rerank", {"query": "x", "documents": "y"}, False),
    ("/v1/messages", {"max_tokens": 1, "messages": [ASKED], "system": ""}, True),
    ("/v1/messages", {"max_tokens": 1, "messages": [{"role": "user", "content": ""}]}, False),
    ("/v1/messages", {"max_tokens": 1, "messages": [{"role": "user", "content": [{"type": "x"}]}]}, False),
    ("/v1/messages", result_is(""), True),
    ("/v1/messages", result_is([{"type": "text", "text": ""}]), True),
    ("/v1/messages", result_is([{"type": "image"}]), False),
    ("/v1/responses", {"input": "x"}, True),
    ("/v1/responses", {"input": [ASKED]}, True),
    ("/v1/responses", {"input": [{"type": None, **ASKED}]}, True),
    ("/v1/responses", {"input": [{"role": "user", "content": []}]}, False),
    ("/v1/responses", {"input": []}, False),
    ("/v1/responses", {"input": [CALL, {**CALL, "type": "function_call_output", "output": "x"}]}, True),
    ("/v1/responses", {"input": [CALL, {**CALL, "type": "function_call_output", "output": 1}]}, False),
    ("/v1/responses", {"input": [{"type": "computer_call"}]}, False),
    ("/v1/chat/completions", chosen("required"), True),
    ("/v1/chat/completions", chosen({"type": "function", "function": {"name": "f"}}), True),
    ("/v1/chat/completions", chosen("any"), False),
    ("/v1/chat/completions", chosen({"type": "tool"}), False),
]


@pytest.mark.parametrize("path, body, accepted", FORMS, ids=range(len(FORMS)))
def test_what_may_be_said_in_several_forms_is_described_in_all_of_them(server, path, body, accepted):
    (operation,) = (operation for operation in WITH_BODY if operation.path == path)
    validator = jsonschema.Draft202012Validator({**DOCUMENT, **body_of(operation)})
    body = {"model": "fake-model", **body}
    assert validator.is_valid(body) == accepted
    if accepted:
        operation.request_type.parse(body)
    else:
        assert server.post(path, body)[0] == 400


def test_it_is_served_with_a_key_where_keys_are_asked_for(server):
    assert json.loads(server.get("/openapi.json")[2]) == DOCUMENT
    assert "security" not in json.dumps(DOCUMENT)
    with RunningServer(api_keys=("sk-right-Key-1",)) as keyed:
        assert keyed.get("/openapi.json")[0] == 401
        head = (
            "GET /openapi.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\nx-api-key: sk-right-Key-1\r\n\r\n"
        )
        told = json.loads(keyed.raw(head.encode())[2])
    assert set(told["components"]["securitySchemes"]) == {"bearer", "x-api-key"}
    for path, methods in told["paths"].items():
        assert all(("security" in method) == (path != "/health") for method in methods.values())


def test_several_models_are_described_as_one_is():
    routes = pool_app(FakePool(), HttpMetrics()).router.routes
    (endpoint,) = (route.endpoint for route in routes if route.path == "/openapi.json")
    told = endpoint.__self__.document
    assert told["paths"].keys() == DOCUMENT["paths"].keys()
    for path, methods in told["paths"].items():
        for method, operation in methods.items():
            assert operation.get("requestBody") == DOCUMENT["paths"][path][method].get("requestBody")
