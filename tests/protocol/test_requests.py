import pytest

from redline.errors import RequestError
from redline.protocol.chat import ChatRequest
from redline.protocol.completions import CompletionRequest
from redline.protocol.wire import UnsupportedParameter, parse_json

MESSAGES = [{"role": "user", "content": "hi"}]


def chat(**fields):
    return ChatRequest.parse({"model": "m", "messages": MESSAGES, **fields})


def completion(**fields):
    return CompletionRequest.parse({"model": "m", "prompt": "hi", **fields})


def test_null_equals_absence_for_every_field():
    fields = dict.fromkeys(ChatRequest.model_fields.keys() - {"model", "messages"})
    assert chat(**fields) == chat()
    fields = dict.fromkeys(CompletionRequest.model_fields.keys() - {"model", "prompt"})
    assert completion(**fields) == completion()


@pytest.mark.parametrize("request_type", [ChatRequest, CompletionRequest])
def test_every_unsupported_name_accepts_null_and_its_defaults_and_nothing_else(request_type):
    base = {"model": "m", "messages": MESSAGES, "prompt": "hi"}
    for name, accepted in request_type.unsupported.items():
        for value in (None, *accepted):
            request_type.parse({**base, name: value})
        with pytest.raises(UnsupportedParameter) as caught:
            request_type.parse({**base, name: {"something": "else"}})
        assert caught.value.param == name and str(caught.value).startswith(name)


def test_true_is_not_taken_for_one():
    with pytest.raises(UnsupportedParameter):
        chat(best_of=True)
    with pytest.raises(RequestError) as caught:
        chat(n=True)
    assert caught.value.param == "n"


@pytest.mark.parametrize(
    "prompt, expected",
    [
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        ([1, 2], [[1, 2]]),
        ([[1], [2, 3]], [[1], [2, 3]]),
    ],
)
def test_the_four_forms_of_a_prompt(prompt, expected):
    assert completion(prompt=prompt).prompt == expected


@pytest.mark.parametrize(
    "prompt",
    [[], [1, "a"], ["a", 1], [[1], 2], [1, [2]], [True], [1.0], [-1], [2**31], {}, 5, [None], [["a"]]],
)
def test_other_prompts_are_refused(prompt):
    with pytest.raises(RequestError) as caught:
        completion(prompt=prompt)
    assert caught.value.param == "prompt"


@pytest.mark.parametrize("stop, expected", [("a", ("a",)), (["a", "bc"], ("a", "bc")), (None, ()), ([], ())])
def test_stop_is_a_string_or_a_list(stop, expected):
    assert chat(stop=stop).stop == expected


@pytest.mark.parametrize("stop", [5, [5], {"a": 1}, "", ["a", ""], "x" * 1025, True])
def test_other_stops_are_refused(stop):
    with pytest.raises(RequestError) as caught:
        chat(stop=stop)
    assert caught.value.param == "stop"


def test_logit_bias_has_token_ids_for_keys():
    assert chat(logit_bias={"5": 1, "70000": -100.0}).logit_bias == {5: 1.0, 70000: -100.0}


@pytest.mark.parametrize(
    "bias", [{"a": 1}, {"-1": 1}, {"1.5": 1}, {" 1": 1}, {"\u0661": 1}, {"": 1}, {"1" * 5000: 1}, [1], "1"]
)
def test_other_keys_are_refused(bias):
    with pytest.raises(RequestError) as caught:
        chat(logit_bias=bias)
    assert caught.value.param.startswith("logit_bias") and len(str(caught.value)) < 500


@pytest.mark.parametrize("value", ["1", True, None, 100.5, float("inf"), 10**400])
def test_other_biases_are_refused(value):
    with pytest.raises(RequestError) as caught:
        chat(logit_bias={"5": value})
    assert caught.value.param == "logit_bias[5]"


@pytest.mark.parametrize(
    "message, param",
    [
        ({"role": "user"}, "messages[0].content"),
        ({"role": "user", "content": None}, "messages[0].content"),
        ({"role": "user", "content": 5}, "messages[0].content"),
        ({"role": "user", "content": [5]}, "messages[0].content"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, "messages[0].content"),
        ({"role": "user", "content": [{"type": "text"}]}, "messages[0].content"),
        ({"role": "robot", "content": "x"}, "messages[0].role"),
        ({"role": "tool", "content": "x"}, "messages[0].role"),
        ({"content": "x"}, "messages[0].role"),
        ({"role": "assistant", "content": "x", "tool_calls": [{}]}, "messages[0].tool_calls"),
        ("text", "messages[0]"),
    ],
)
def test_bad_messages_are_named(message, param):
    with pytest.raises(RequestError) as caught:
        ChatRequest.parse({"model": "m", "messages": [message]})
    assert caught.value.param == param


def test_text_parts_are_joined_and_developer_is_system():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    request = ChatRequest.parse(
        {"model": "m", "messages": [{"role": "developer", "content": parts, "name": "x", "later": 1}]}
    )
    assert request.messages[0].for_template() == {"role": "system", "content": "a\nb"}


@pytest.mark.parametrize(
    "fields, param",
    [
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        (
            {"stream": True, "stream_options": {"include_obfuscation": True}},
            "stream_options.include_obfuscation",
        ),
        ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"stream": True, "stream_options": []}, "stream_options"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": False, "top_logprobs": 2}, "top_logprobs"),
        ({"max_tokens": 2, "max_completion_tokens": 3}, "max_tokens"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"tools": [{}]}, "tools"),
        ({"chat_template": "{{ 1 }}"}, "chat_template"),
    ],
)
def test_contradictions_and_unsupported_values_are_named(fields, param):
    with pytest.raises(RequestError) as caught:
        chat(**fields)
    assert caught.value.param == param


def test_completions_refuse_what_they_cannot_do():
    for fields, param in (
        ({"best_of": 2}, "best_of"),
        ({"echo": True, "logprobs": 1}, "echo"),
        ({"suffix": "x"}, "suffix"),
        ({"logprobs": 6}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
    ):
        with pytest.raises(RequestError) as caught:
            completion(**fields)
        assert caught.value.param == param
    assert completion(best_of=2, n=2).n == 2


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"a":1}x',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":01}',
        b"\xef\xbb\xbf{}",
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\\ud800"}',
        b'{"\\udfff":1}',
        b'{"a":' + b"1" * 5000 + b"}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        "{}".encode("utf-16"),
    ],
)
def test_what_is_not_plain_json_is_refused(body):
    with pytest.raises(RequestError, match="not valid JSON"):
        parse_json(body)


def test_duplicate_keys_are_fine():
    assert parse_json(b'{"a":1,"a":2}') == {"a": 2}


@pytest.mark.parametrize("data", [[], "x", 5, None, True])
def test_a_body_must_be_an_object(data):
    with pytest.raises(RequestError, match="must be a JSON object"):
        ChatRequest.parse(data)


def test_messages_stay_short_whatever_was_sent():
    value: object = "x" * 10_000
    for _ in range(50):
        value = [value] * 50
    with pytest.raises(RequestError) as caught:
        chat(temperature=value)
    assert len(str(caught.value)) < 500


def test_unknown_names_are_told_apart_from_known_ones():
    assert ChatRequest.unknown_names({"$schema": 1, "user": "u", "tools": [], "top_k": 1}) == {"$schema"}
