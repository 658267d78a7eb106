import pytest

from redline.config.sampling import SamplingParams
from redline.errors import RequestError
from redline.protocol.chat import ChatRequest
from redline.protocol.completions import CompletionRequest
from redline.protocol.wire import UnsupportedParameter, parse_json
from redline.server.job import sampling_params

MESSAGES = [{"role": "user", "content": "hi"}]

CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def calling(arguments):
    call = {**CALL, "function": {"name": "f", "arguments": arguments}}
    return {"role": "assistant", "tool_calls": [call]}


def tool(name, **members):
    return {"type": "function", "function": {"name": name, **members}}


def allowed(*names):
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": tools}}


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
        completion(include_reasoning=1)
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
        ({"role": "tool", "content": "x"}, "messages[0].tool_call_id"),
        ({"role": "tool", "content": "x", "tool_call_id": "a"}, "messages[0].tool_call_id"),
        ({"role": "tool", "tool_call_id": "a"}, "messages[0].content"),
        ({"content": "x"}, "messages[0].role"),
        ({"role": "assistant", "content": "x", "tool_calls": [{}]}, "messages[0].tool_calls[0].id"),
        ({"role": "user", "content": "x", "tool_calls": [CALL]}, "messages[0].tool_calls"),
        ({"role": "assistant", "tool_calls": [CALL] * 129}, "messages[0].tool_calls"),
        (calling("{"), "messages[0].tool_calls[0].function.arguments"),
        (calling("[1]"), "messages[0].tool_calls[0].function.arguments"),
        (calling('{"a": NaN}'), "messages[0].tool_calls[0].function.arguments"),
        (calling("[" * 100_000), "messages[0].tool_calls[0].function.arguments"),
        (calling('{"a": ' + "9" * 5000 + "}"), "messages[0].tool_calls[0].function.arguments"),
        (calling({}), "messages[0].tool_calls[0].function.arguments"),
        ({"role": "assistant", "tool_calls": []}, "messages[0].content"),
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
    assert request.messages[0].for_template() == {"role": "system", "content": "a\nb", "name": "x"}


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
        ({"tools": {}}, "tools"),
        ({"tools": [{}]}, "tools[0].type"),
        ({"tools": [{"type": "retrieval"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [tool("a b")]}, "tools[0].function.name"),
        ({"tools": [tool("a\n")]}, "tools[0].function.name"),
        ({"tools": [tool("")]}, "tools[0].function.name"),
        ({"tools": [tool("a" * 129)]}, "tools[0].function.name"),
        ({"tools": [tool("a", description="x" * 32_769)]}, "tools[0].function.description"),
        ({"tools": [tool("a", parameters=[])]}, "tools[0].function.parameters"),
        ({"tools": [tool("a", parameters={"type": "string"})]}, "tools[0].function.parameters.type"),
        ({"tools": [tool("a"), tool("b"), tool("a")]}, "tools"),
        ({"tools": [tool(f"f{number}") for number in range(129)]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [tool("a")], "tool_choice": {"type": "function"}}, "tool_choice.function"),
        (
            {"tools": [tool("a")], "tool_choice": {"type": "custom", "function": {"name": "a"}}},
            "tool_choice.type",
        ),
        (
            {"tools": [tool("a")], "tool_choice": {"type": "function", "function": {"name": "b"}}},
            "tool_choice",
        ),
        ({"continue_final_message": True, "add_generation_prompt": False}, "messages[0]"),
        (
            {"continue_final_message": True, "messages": [*MESSAGES, {"role": "assistant", "content": "a"}]},
            "add_generation_prompt",
        ),
        ({"documents": "text"}, "documents"),
        ({"documents": ["text"]}, "documents[0]"),
        ({"tool_choice": "always"}, "tool_choice"),
        ({"parallel_tool_calls": "yes"}, "parallel_tool_calls"),
        ({"reasoning_effort": "huge"}, "reasoning_effort"),
        ({"chat_template_kwargs": {"tokenize": True}}, "chat_template_kwargs.tokenize"),
        ({"chat_template_kwargs": {"enable_thinking": "no"}}, "chat_template_kwargs.enable_thinking"),
        ({"chat_template_kwargs": [1]}, "chat_template_kwargs"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {}}},
            "response_format.json_schema.schema",
        ),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_object"}, "regex": "a"}, "regex"),
        ({"guided_choice": ["a"], "structured_outputs": {"regex": "a"}}, "guided_choice"),
        ({"guided_choice": "a"}, "guided_choice"),
        ({"guided_decoding_backend": "xgrammar"}, "guided_decoding_backend"),
        (
            {"structured_outputs": {"json": {}, "disable_additional_properties": True}},
            "structured_outputs.disable_additional_properties",
        ),
        ({"chat_template": "{{ 1 }}"}, "chat_template"),
        ({"typical_p": 0}, "typical_p"),
        ({"mirostat": 3}, "mirostat"),
        ({"mirostat": True}, "mirostat"),
        ({"bad_words": "word"}, "bad_words"),
        ({"bad_words": [1]}, "bad_words[0]"),
        ({"allowed_token_ids": [1.5]}, "allowed_token_ids[0]"),
        ({"allowed_token_ids": [1] * 16385}, "allowed_token_ids"),
        ({"logits_processors": ["module.name"]}, "logits_processors"),
        ({"custom_logit_processor": "code"}, "custom_logit_processor"),
    ],
)
def test_contradictions_and_unsupported_values_are_named(fields, param):
    with pytest.raises(RequestError) as caught:
        chat(**fields)
    assert caught.value.param == param


def test_completions_refuse_what_they_cannot_do():
    for fields, param in (
        ({"best_of": 0}, "best_of"),
        ({"length_penalty": 11}, "length_penalty"),
        ({"early_stopping": "always"}, "early_stopping"),
        ({"early_stopping": 1}, "early_stopping"),
        ({"use_beam_search": 1}, "use_beam_search"),
        ({"num_beam_groups": 0}, "num_beam_groups"),
        ({"diversity_penalty": -1}, "diversity_penalty"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"prompt_logprobs": 21}, "prompt_logprobs"),
        ({"logprob_start_len": 2}, "logprob_start_len"),
        ({"suffix": 5}, "suffix"),
        ({"logprobs": 6}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
    ):
        with pytest.raises(RequestError) as caught:
            completion(**fields)
        assert caught.value.param == param
    assert completion(best_of=2, n=2).n == 2
    assert completion(max_tokens=0, echo=True).max_tokens == 0


@pytest.mark.parametrize(
    "fields, wanted",
    [
        ({}, None),
        ({"echo": True}, None),
        ({"logprobs": 2}, None),
        ({"echo": True, "logprobs": 0}, 0),
        ({"prompt_logprobs": 7}, 7),
        ({"prompt_logprobs": 1, "echo": True, "logprobs": 3}, 3),
    ],
)
def test_prompts_are_scored_for_echo_and_when_asked_for(fields, wanted):
    assert completion(**fields).wanted_prompt_logprobs == wanted


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


def test_a_call_and_its_result_reach_the_template_as_objects():
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x": [1, 2.5]}'}}
    messages = [
        *MESSAGES,
        {"role": "assistant", "content": None, "tool_calls": [call], "reasoning_content": "hm"},
        {"role": "tool", "tool_call_id": "a", "content": "7", "name": "f"},
        {"role": "assistant", "content": "x", "reasoning": "ha", "tool_calls": []},
    ]
    _, called, result, answered = [message.for_template() for message in chat(messages=messages).messages]
    assert called == {
        "role": "assistant",
        "content": "",
        "tool_calls": [{**call, "function": {"name": "f", "arguments": {"x": [1, 2.5]}}}],
        "reasoning": "hm",
        "reasoning_content": "hm",
    }
    assert result == {"role": "tool", "content": "7", "tool_call_id": "a", "name": "f"}
    assert answered == {"role": "assistant", "content": "x", "reasoning": "ha", "reasoning_content": "ha"}
    empty = chat(messages=[calling("")]).messages[0].for_template()
    assert empty["tool_calls"][0]["function"]["arguments"] == {}


def test_a_result_names_a_call_that_came_before_it():
    result = {"role": "tool", "tool_call_id": "a", "content": "7"}
    with pytest.raises(RequestError) as caught:
        chat(messages=[*MESSAGES, result, calling("{}")])
    assert caught.value.param == "messages[1].tool_call_id" and "'a'" in str(caught.value)
    chat(messages=[*MESSAGES, calling("{}"), result, result])


def test_tools_reach_the_template_whole_and_with_what_they_left_out():
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
    tools = [tool("f", description="d", parameters=schema, strict=True), tool("g")]
    request = chat(tools=tools)
    assert [each.for_template() for each in request.offered_tools] == [
        tool("f", description="d", parameters=schema),
        tool("g", description="", parameters={"type": "object", "properties": {}}),
    ]
    assert chat(tools=tools, tool_choice="none").offered_tools == []


def test_what_a_template_may_be_told():
    request = chat(reasoning_effort="low", chat_template_kwargs={"enable_thinking": False, "thinking": None})
    assert request.template_variables == {"enable_thinking": False, "reasoning_effort": "low"}
    assert chat().template_variables == {}


def test_defaults_are_those_of_sampling_params():
    """What a client leaves out is what the library does without it."""
    request, params = chat(), SamplingParams()
    shared = ChatRequest.model_fields.keys() & set(SamplingParams.__slots__) - {"max_tokens", "logprobs"}
    assert {"typical_p", "dry_sequence_breakers", "mirostat_tau", "bad_words"} < shared

    def value(source, name):
        found = getattr(source, name)
        return tuple(found) if isinstance(found, list) else found

    for name in shared:
        assert value(request, name) == value(params, name), name
    whole = sampling_params(request, max_tokens=16, logprobs=None, prompt_logprobs=None)
    assert whole == params
