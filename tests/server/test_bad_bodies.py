"""Hostile bodies: 400 or an answer, never 500, and the next request is answered as ever."""

import http.client
import json
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from redline.protocol.chat import ChatRequest
from redline.protocol.completions import CompletionRequest
from tests.server.running_server import RunningServer

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
BASE = {
    CHAT: {"model": "fake-model", "messages": [{"role": "user", "content": "x"}]},
    COMPLETIONS: {"model": "fake-model", "prompt": "x"},
}
FIXED = {**BASE[CHAT], "max_tokens": 5, "seed": 1, "temperature": 0}

# Field -> the largest value that is accepted.
BOTH = {
    "n": 128,
    "temperature": 2,
    "top_p": 1,
    "min_p": 1,
    "top_k": 2**31 - 1,
    "seed": 2**63 - 1,
    "max_tokens": 511,
    "min_tokens": 2,
    "presence_penalty": 2,
    "frequency_penalty": 2,
    "repetition_penalty": 100,
    "typical_p": 1,
    "top_n_sigma": 100,
    "xtc_probability": 1,
    "xtc_threshold": 1,
    "mirostat": 2,
    "mirostat_tau": 100,
    "mirostat_eta": 1,
    "dola_layer": 1024,
    "dry_multiplier": 100,
    "dry_base": 100,
    "dry_allowed_length": 2**31 - 1,
    "dry_penalty_last_n": 2**31 - 1,
}
FIELDS = [
    *(
        (CHAT, field, cap)
        for field, cap in {
            **BOTH,
            "max_completion_tokens": 505,
            "max_tokens": 505,
            "top_logprobs": 20,
        }.items()
    ),
    *((COMPLETIONS, field, cap) for field, cap in {**BOTH, "logprobs": 5, "best_of": 1}.items()),
    *((path, field, None) for path in BASE for field in ("stop_token_ids", "logit_bias", "priority", "stop")),
    *((path, field, None) for path in BASE for field in ("stream", "ignore_eos", "model", "stream_options")),
    *((path, field, None) for path in BASE for field in ("length_penalty", "prompt_logprobs", "echo")),
    *((CHAT, field, None) for field in ("tools", "tool_choice", "parallel_tool_calls", "include_reasoning")),
    *((CHAT, field, None) for field in ("reasoning_effort", "chat_template_kwargs")),
    *((path, field, None) for path in BASE for field in ("bad_words", "allowed_token_ids")),
    *((path, field, None) for path in BASE for field in ("dry_sequence_breakers", "logits_processors")),
    (CHAT, "messages", None),
    (COMPLETIONS, "prompt", None),
]
VALUES = [
    "-1", "0", "1", str(2**31 - 1), str(2**31), str(2**63 - 1), str(2**63), "1" + "0" * 26, "1e26", "1.5",
    '"1"', "true", "false", "null", "NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" * 5000, "[]", "{}",
    "[1]", "[-1]", f"[{2**31}]", "[null]", '[""]', '{"1":1e999}', '{"1":true}', '{"-1":1}', '{"x":1}', '""',
]  # fmt: skip


class Talker:
    """One kept-alive connection that checks every answer."""

    def __init__(self, server: RunningServer) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        self.fixed = b""
        self.fixed = self.ask_fixed()

    def close(self) -> None:
        self._connection.close()

    def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        self._connection.request("POST", path, body, {"content-type": "application/json"})
        response = self._connection.getresponse()
        return response.status, response.read()

    def ask_fixed(self) -> bytes:
        status, body = self.post(CHAT, json.dumps(FIXED).encode())
        assert status == 200, body
        answer = json.loads(body)
        return json.dumps([answer["choices"], answer["usage"]]).encode()

    def check(self, path: str, body: bytes) -> tuple[int, bytes]:
        status, answer = self.post(path, body)
        assert status in {200, 400, 404}, (status, answer, body[:300])
        if status != 200:
            error = json.loads(answer)["error"]
            assert list(error) == ["message", "type", "param", "code"]
            assert error["message"] and error["type"] == "invalid_request_error" and len(answer) < 1000
        assert self.ask_fixed() == self.fixed
        return status, answer


@pytest.fixture(scope="module")
def talker(server: RunningServer) -> Iterator[Talker]:
    talker = Talker(server)
    yield talker
    talker.close()


def body_with(path: str, field: str, literal: str) -> bytes:
    """Text, because JSON libraries write no NaN and no 1e999."""
    members = {**BASE[path]}
    if field not in ("max_tokens", "max_completion_tokens"):
        members["max_tokens"] = 2
    if field == "top_logprobs":
        members["logprobs"] = True
    members.pop(field, None)
    return (json.dumps(members)[:-1] + f', "{field}": {literal}}}').encode()


@pytest.mark.parametrize(
    "path, field, cap", FIELDS, ids=[f"{path[4:8]}-{field}" for path, field, _ in FIELDS]
)
def test_every_field_with_every_hostile_value(talker, path, field, cap):
    values = VALUES if cap is None else [*VALUES, str(cap), str(cap + 1), str(float(cap))]
    for literal in values:
        status, answer = talker.check(path, body_with(path, field, literal))
        if status == 400:
            param = json.loads(answer)["error"]["param"]
            assert param is None or param.startswith((field, "max_tokens", "min_tokens")), (literal, answer)
        else:
            assert status == 200 or field == "model", (literal, answer)


@pytest.mark.parametrize("path, field, cap", [row for row in FIELDS if row[2] is not None])
def test_the_cap_is_accepted_and_the_next_value_is_not(talker, path, field, cap):
    assert talker.check(path, body_with(path, field, str(cap)))[0] == 200
    status, answer = talker.check(path, body_with(path, field, str(cap + 1)))
    assert status == 400 and json.loads(answer)["error"]["param"] == field


@pytest.mark.parametrize(
    "field", ["temperature", "top_p", "n", "seed", "max_tokens", "top_k", "presence_penalty"]
)
@pytest.mark.parametrize("literal", ["NaN", "Infinity", "1e999", "-1e999", '"1"', "true", "1" * 5000, "[1]"])
def test_what_is_not_a_finite_number_is_refused(talker, field, literal):
    assert talker.check(CHAT, body_with(CHAT, field, literal))[0] == 400


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"{",
        b"{}",
        b"\xff\xfe",
        b"[" * 200_000,
        b'{"messages":' + b"[" * 200_000,
        b'{"model":"fake-model","messages":[{"role":"user","content":"\\ud800"}]}',
        b'{"model":"fake-model","prompt":"\\udcff"}',
        b'{"model":"fake-model","prompt":"\xff"}',
        b'{"model":"fake-model","prompt":[' + b"1," * 100_000 + b"1]}",
        b'{"model":"fake-model","prompt":[257]}',
        b'{"model":"fake-model","prompt":[[1],[]]}',
        b'{"model":"fake-model","prompt":"x","n":65,"max_tokens":1,"prompt":["a","b"]}',
        b'{"model":"fake-model","prompt":["' + b'","'.join([b"a"] * 129) + b'"]}',
        b'{"model":"fake-model","prompt":["x",""]}',
        b'{"model":"fake-model","messages":[' + b"{}," * 5000 + b"{}]}",
        b'{"model":"fake-model","messages":[],"prompt":""}',
        b'{"model":"fake-model"}',
        b'{"model":null,"messages":[{"role":"user","content":"x"}],"prompt":"x"}',
        b'{"messages":[{"role":"user","content":"x"}],"prompt":"x"}',
    ],
    ids=range(23),
)
def test_malformed_bodies_are_refused(talker, body):
    for path in BASE:
        assert talker.check(path, body)[0] == 400


def test_beams_count_as_answers_do(talker):
    """Each is a sequence of the engine: two prompts of 65 beams are too many, however few are told."""
    beams = {"model": "fake-model", "max_tokens": 1, "use_beam_search": True, "best_of": 65, "temperature": 0}
    status, answer = talker.check(COMPLETIONS, json.dumps({**beams, "prompt": ["a", "b"]}).encode())
    error = json.loads(answer)["error"]
    assert (status, error["param"]) == (400, "prompt") and "best_of is 65" in error["message"]


def test_a_missing_model_names_it_and_an_unknown_one_is_404(talker):
    status, answer = talker.check(COMPLETIONS, b'{"prompt":"x"}')
    assert (status, json.loads(answer)["error"]["param"]) == (400, "model")
    status, answer = talker.check(COMPLETIONS, b'{"model":"x","prompt":"x"}')
    error = json.loads(answer)["error"]
    assert (status, error["param"], error["code"]) == (404, "model", "model_not_found")


def test_calls_of_anybody_but_an_assistant_are_named_not_called_missing(talker):
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "user", "content": "x", "tool_calls": [call]}
    status, answer = talker.check(CHAT, json.dumps({**BASE[CHAT], "messages": [message]}).encode())
    error = json.loads(answer)["error"]
    assert (status, error["param"]) == (400, "messages[0].tool_calls")
    assert error["message"].startswith("messages[0].tool_calls is ['f']; only an assistant makes calls")


def test_harmless_oddities_are_accepted(talker):
    for body in (
        b'{"model":"a","model":"fake-model","prompt":"x"}',
        b'{"model":"fake-model","prompt":"\\u0000","$schema":{"a":[1]},"private":null}',
        b'{"model":"fake-model","prompt":"x","logprobs":null,"suffix":null,"best_of":null,"stop":null}',
        b' {"model" : "fake-model" , "prompt" : "x" } \r\n',
    ):
        assert talker.check(COMPLETIONS, body)[0] == 200


MESSAGE_FIELDS = ["name", "tool_calls", "tool_call_id", "reasoning", "reasoning_content"]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
names = sorted(
    ChatRequest.model_fields.keys()
    | CompletionRequest.model_fields.keys()
    | ChatRequest.unsupported.keys()
    | CompletionRequest.unsupported.keys()
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(sorted(BASE)),
    fields=st.dictionaries(st.sampled_from(names), json_values, max_size=4),
    message=st.dictionaries(st.sampled_from(["role", "content", *MESSAGE_FIELDS]), json_values),
)
def test_any_values_in_any_fields(talker, path, fields, message):
    body = {"max_tokens": 2, **BASE[path], **fields}
    if message and "messages" in body:
        body["messages"] = [message]
    talker.check(path, json.dumps(body).encode())


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_any_bytes(talker, body):
    assert talker.check(CHAT, body)[0] == 400
