"""Calls of tools and reasoning, from the model's text to the OpenAI client's objects."""

from __future__ import annotations

import json
from collections.abc import Iterator

import openai
import pytest

from tests.server.fake_engine import FakeEngine
from tests.server.running_server import RunningServer

MODEL = "fake-model"
TEMPLATE = "<tool_call> <think>"
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "d",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
NOW = {"type": "function", "function": {"name": "now"}}
TOOLS = [WEATHER, NOW]
OSLO = '{"city":  "Oslo \u00e9"}'
TWO_CALLS = (
    f'Let me see.\n<tool_call>\n{{"name": "weather", "arguments": {OSLO}}}\n</tool_call>\n'
    '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
)


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with RunningServer(FakeEngine(template=TEMPLATE)) as running:
        yield running


@pytest.fixture(scope="module")
def client(server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def said(text):
    return {"model": MODEL, "messages": [{"role": "user", "content": f"SAY:{text}"}]}


def stream(client, **options):
    return [chunk.choices[0] for chunk in client.chat.completions.create(**options, stream=True)]


def test_calls_in_a_whole_answer(client):
    choice = client.chat.completions.create(**said(TWO_CALLS), tools=TOOLS).choices[0]
    assert choice.finish_reason == "tool_calls" and choice.message.content == "Let me see."
    functions = [
        (call.type, call.function.name, call.function.arguments) for call in choice.message.tool_calls
    ]
    assert functions == [("function", "weather", OSLO), ("function", "now", "{}")]
    ids = [call.id for call in choice.message.tool_calls]
    assert len(set(ids)) == 2 and all(each.startswith("call_") for each in ids)


def test_content_beside_calls_is_null_when_there_is_none(client):
    text = '<tool_call>{"name": "now", "arguments": {}}</tool_call>'
    message = client.chat.completions.create(**said(text), tools=TOOLS).choices[0].message
    assert message.content is None and len(message.tool_calls) == 1
    plain = client.chat.completions.create(**said("Hello"), tools=TOOLS).choices[0]
    assert (plain.message.content, plain.message.tool_calls, plain.finish_reason) == ("Hello", None, "stop")


def test_calls_in_a_stream(client):
    choices = stream(client, **said(TWO_CALLS), tools=TOOLS)
    parts = [part for choice in choices for part in choice.delta.tool_calls or ()]
    starts = [part for part in parts if part.id is not None]
    assert [(part.index, part.type, part.function.name) for part in starts] == [
        (0, "function", "weather"),
        (1, "function", "now"),
    ]
    for index, arguments in enumerate((OSLO, "{}")):
        pieces = [part.function.arguments for part in parts if part.index == index]
        assert "".join(pieces) == arguments
    assert len([part for part in parts if part.index == 0]) > 10, "arguments come while they are written"
    assert "".join(choice.delta.content or "" for choice in choices) == "Let me see."
    assert [choice.finish_reason for choice in choices if choice.finish_reason] == ["tool_calls"]
    silent = [choice for choice in choices[1:-1] if not choice.delta.model_fields_set]
    assert not silent, "no chunk without news"


def test_the_clients_own_helper_puts_a_stream_together(client):
    strict = [{**tool, "function": {**tool["function"], "strict": True}} for tool in TOOLS]
    with client.chat.completions.stream(**said(TWO_CALLS), tools=strict) as events:
        done = [event for event in events if event.type == "tool_calls.function.arguments.done"]
        message = events.get_final_completion().choices[0].message
    assert [(event.name, event.arguments) for event in done] == [("weather", OSLO), ("now", "{}")]
    assert [call.function.parsed_arguments for call in message.tool_calls] == [{"city": "Oslo \u00e9"}, {}]


def test_the_result_of_a_call_goes_back(client, server):
    first = client.chat.completions.create(**said(TWO_CALLS), tools=TOOLS).choices[0].message
    results = [{"role": "tool", "tool_call_id": call.id, "content": "SAY:ok"} for call in first.tool_calls]
    question = {"role": "user", "content": "weather?"}
    answer = client.chat.completions.create(model=MODEL, messages=[question, first, *results], tools=TOOLS)
    assert answer.choices[0].finish_reason == "stop"
    messages, tools, _ = server.engine.rendered[-1]
    assert messages[1]["tool_calls"][0]["function"] == {
        "name": "weather",
        "arguments": {"city": "Oslo \u00e9"},
    }
    assert messages[2] == {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "SAY:ok"}
    assert tools[0] == WEATHER and tools[1]["function"]["parameters"] == {"type": "object", "properties": {}}


def test_without_tools_or_with_tool_choice_none_nothing_is_looked_for(client, server):
    for options in ({}, {"tools": []}, {"tools": TOOLS, "tool_choice": "none"}):
        choice = client.chat.completions.create(**said(TWO_CALLS), **options).choices[0]
        assert (choice.message.content, choice.finish_reason) == (TWO_CALLS, "stop")
        assert choice.message.tool_calls is None and server.engine.rendered[-1][1] is None
        assert "<tool_call>" not in server.engine.seen[-1][1].keep_special_tokens


def test_special_tokens_are_kept_for_the_parsers(client, server):
    client.chat.completions.create(**said("x"), tools=TOOLS)
    params = server.engine.seen[-1][1]
    assert params.skip_special_tokens
    assert params.keep_special_tokens == ("<think>", "</think>", "<tool_call>", "</tool_call>")


@pytest.mark.parametrize("streamed", [False, True])
def test_one_call_at_most(client, streamed):
    options = {**said(TWO_CALLS), "tools": TOOLS, "parallel_tool_calls": False}
    if streamed:
        parts = [part for choice in stream(client, **options) for part in choice.delta.tool_calls or ()]
        assert {part.index for part in parts} == {0} and parts[0].function.name == "weather"
    else:
        (call,) = client.chat.completions.create(**options).choices[0].message.tool_calls
        assert call.function.name == "weather"


def test_a_call_that_was_cut_off_is_one_that_was_cut_off(client):
    choice = client.chat.completions.create(**said(TWO_CALLS), tools=TOOLS, max_tokens=70).choices[0]
    (call,) = choice.message.tool_calls
    assert choice.finish_reason == "length" and OSLO.startswith(call.function.arguments)


def test_every_choice_has_calls_of_its_own(client):
    options = {**said(TWO_CALLS), "tools": TOOLS, "n": 3}
    whole = client.chat.completions.create(**options).choices
    assert len({call.id for choice in whole for call in choice.message.tool_calls}) == 6
    names = {index: "" for index in range(3)}
    for choice in stream(client, **options):
        for part in choice.delta.tool_calls or ():
            names[choice.index] += part.function.name or ""
    assert list(names.values()) == ["weathernow"] * 3


REASONED = "<think>\nShall I?\n</think>\n\nYes."


def test_reasoning_in_a_whole_answer_and_in_a_stream(client):
    answer = client.chat.completions.create(**said(REASONED))
    message = answer.choices[0].message
    assert (message.content, message.reasoning, message.reasoning_content) == ("Yes.", *["Shall I?"] * 2)
    assert answer.usage.completion_tokens_details.reasoning_tokens == len("<think>\nShall I?\n</think>") - 6
    deltas = [choice.delta for choice in stream(client, **said(REASONED))]
    assert "".join(getattr(delta, "reasoning", "") for delta in deltas) == "Shall I?"
    assert "".join(getattr(delta, "reasoning_content", "") for delta in deltas) == "Shall I?"
    assert "".join(delta.content or "" for delta in deltas) == "Yes."


def test_reasoning_may_be_left_out(client):
    options = {**said(REASONED), "extra_body": {"include_reasoning": False}}
    message = client.chat.completions.create(**options).choices[0].message
    assert message.content == "Yes." and "reasoning" not in message.model_fields_set
    assert all(not hasattr(choice.delta, "reasoning") for choice in stream(client, **options))


def test_reasoning_that_the_template_begins(client):
    options = said("x")
    options["messages"][0]["content"] = "SAY:hm</think>Yes.<think>"
    message = client.chat.completions.create(**options).choices[0].message
    assert (message.reasoning, message.content) == ("hm", "Yes.<think>")


def test_reasoning_and_calls_together(client):
    choice = client.chat.completions.create(**said(f"<think>a</think>{TWO_CALLS}"), tools=TOOLS).choices[0]
    assert (choice.message.reasoning, choice.message.content) == ("a", "Let me see.")
    assert len(choice.message.tool_calls) == 2 and choice.finish_reason == "tool_calls"


def test_logprobs_and_token_ids_of_hidden_text_are_not_lost(client):
    text = '<tool_call>{"name": "now"}</tool_call>'
    options = {**said(text), "tools": TOOLS, "logprobs": True, "extra_body": {"return_token_ids": True}}
    choices = stream(client, **options)
    assert [token for choice in choices[1:] for token in choice.token_ids] == [*text.encode(), 256]
    assert sum(len(choice.logprobs.content) for choice in choices if choice.logprobs) == len(text) + 1


def test_template_variables_are_handed_on(client, server):
    extra = {"chat_template_kwargs": {"enable_thinking": False}}
    client.chat.completions.create(**said("x"), reasoning_effort="low", extra_body=extra)
    assert server.engine.rendered[-1][2] == {"enable_thinking": False, "reasoning_effort": "low"}


@pytest.mark.parametrize(
    "fields, param, code",
    [
        ({"tool_choice": "required"}, "tool_choice", None),
        (
            {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "nobody"}}},
            "tool_choice",
            None,
        ),
        (
            {"tools": TOOLS, "tool_choice": "required", "response_format": {"type": "json_object"}},
            "response_format",
            None,
        ),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name", None),
    ],
)
def test_what_is_refused_is_named(client, fields, param, code):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**said("x"), **fields)
    assert (caught.value.param, caught.value.code) == (param, code)


def test_parsers_can_be_named_or_switched_off():
    with RunningServer(
        FakeEngine(template=TEMPLATE), tool_call_parser="json", reasoning_parser="none"
    ) as server:
        body = {**said('<think>{"name": "now", "arguments": {}}'), "tools": TOOLS}
        message = json.loads(server.post("/v1/chat/completions", body)[2])["choices"][0]["message"]
        assert message["content"].startswith("<think>{") and "tool_calls" not in message
        body = {**said('{"name": "now", "arguments": {}}'), "tools": TOOLS}
        message = json.loads(server.post("/v1/chat/completions", body)[2])["choices"][0]["message"]
        assert message["content"] is None and message["tool_calls"][0]["function"]["name"] == "now"


def test_any_text_in_any_cut_is_the_same_streamed_and_whole(client):
    for text in (
        "<tool_call>{",
        "a <think> b",
        '<tool_call>{"name": "now", "arguments": {"a": ]',
        " <think>x",
    ):
        whole = client.chat.completions.create(**said(text), tools=TOOLS).choices[0].message
        choices = stream(client, **said(text), tools=TOOLS)
        assert "".join(choice.delta.content or "" for choice in choices) == (whole.content or "")
        pieces = [part.function.arguments for choice in choices for part in choice.delta.tool_calls or ()]
        assert "".join(pieces) == "".join(call.function.arguments for call in whole.tool_calls or ())
