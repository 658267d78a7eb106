"""Hostile bodies for the endpoints besides completions: a clear 400, and nobody else notices."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from redline.protocol.anthropic import MessagesPrompt, MessagesRequest
from redline.protocol.embeddings import EmbeddingRequest
from redline.protocol.responses import ResponsesPrompt, ResponsesRequest
from redline.protocol.scoring import RerankRequest, ScoreRequest
from redline.protocol.tokenization import DetokenizeRequest, TokenizeRequest
from redline.protocol.wire import UnsupportedParameter
from tests.server.running_server import RunningServer
from tests.server.test_bad_bodies import VALUES, Talker, json_values

MESSAGES = [{"role": "user", "content": "x"}]
BASE = {
    "/v1/messages": (MessagesRequest, {"messages": MESSAGES, "max_tokens": 2}),
    "/v1/messages/count_tokens": (MessagesPrompt, {"messages": MESSAGES}),
    "/v1/responses": (ResponsesRequest, {"input": "x", "max_output_tokens": 2}),
    "/v1/responses/input_tokens": (ResponsesPrompt, {"input": "x"}),
    "/v1/score": (ScoreRequest, {"text_1": "x", "text_2": "y"}),
    "/rerank": (RerankRequest, {"query": "x", "documents": ["y"]}),
    "/v1/embeddings": (EmbeddingRequest, {"input": "x"}),
    "/tokenize": (TokenizeRequest, {"prompt": "x"}),
    "/detokenize": (DetokenizeRequest, {"tokens": [1, 2]}),
}
FIELDS = [
    (path, name) for path, (kind, _) in BASE.items() for name in [*kind.model_fields, *kind.unsupported]
]
BODIES = [
    b"",
    b"null",
    b"[]",
    b"{",
    b"{}",
    b"\xff\xfe",
    b"[" * 200_000,
    b'{"messages":' + b"[" * 200_000,
    b'{"model":"fake-model","prompt":"\\ud800","input":"\\ud800","system":"\\ud800"}',
    b'{"model":"fake-model","messages":[' + b"{}," * 5000 + b"{}]}",
    b'{"model":"fake-model","tokens":[' + b"1," * 100_000 + b"-1]}",
]


@pytest.fixture(scope="module")
def talker(server: RunningServer) -> Iterator[Talker]:
    talker = Talker(server)
    yield talker
    talker.close()


def check(talker: Talker, path: str, body: bytes) -> tuple[int, bytes]:
    status, answer = talker.post(path, body)
    assert status in {200, 400, 404}, (status, answer, body[:300])
    if status != 200:
        error = json.loads(answer)["error"]
        expected = (
            "not_found_error" if (status, path[:12]) == (404, "/v1/messages") else "invalid_request_error"
        )
        assert error["type"] == expected and error["message"] and len(answer) < 1000
    assert talker.ask_fixed() == talker.fixed
    return status, answer


@pytest.mark.parametrize("path, field", FIELDS)
def test_every_field_with_every_hostile_value(talker, path, field):
    members = {"model": "fake-model", **BASE[path][1]}
    members.pop(field, None)
    for literal in VALUES:
        check(talker, path, (json.dumps(members)[:-1] + f', "{field}": {literal}}}').encode())


@pytest.mark.parametrize("path", BASE)
@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_malformed_bodies_are_refused(talker, path, body):
    assert check(talker, path, body)[0] == 400


@pytest.mark.parametrize("path", BASE)
def test_every_unsupported_name_accepts_null_and_its_defaults_and_nothing_else(path):
    kind, members = BASE[path]
    members = {"model": "fake-model", **members}
    for name, accepted in kind.unsupported.items():
        for value in (None, *accepted):
            kind.parse({**members, name: value})
        with pytest.raises(UnsupportedParameter, match=f"^{name} is"):
            kind.parse({**members, name: {"something": "else"}})


@pytest.mark.parametrize("path", BASE)
def test_null_equals_absence(path):
    kind, members = BASE[path]
    members = {"model": "fake-model", **members}
    nothing = dict.fromkeys(kind.model_fields.keys() - members.keys())
    assert kind.parse({**members, **nothing}) == kind.parse(members)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(sorted(BASE)),
    fields=st.dictionaries(st.sampled_from(sorted({name for _, name in FIELDS})), json_values, max_size=4),
    message=st.dictionaries(st.sampled_from(["role", "content", "type", "text", "id"]), json_values),
)
def test_any_values_in_any_fields(talker, path, fields, message):
    body = {"model": "fake-model", **BASE[path][1], **fields}
    if message:
        for name in ("messages", "input"):
            if name in body:
                body[name] = [message]
    check(talker, path, json.dumps(body).encode())
