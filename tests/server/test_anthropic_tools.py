"""Tools and thinking in the Messages API, by the real Anthropic client."""

import json
from collections.abc import Iterator

import anthropic
import pytest

from tests.server.fake_engine import FakeEngine
from tests.server.running_server import RunningServer

MODEL = "fake-model"
WEATHER = {
    "name": "weather",
    "description": "d",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
TOOLS = [WEATHER, {"name": "now", "input_schema": {"type": "object", "properties": {}}}]
OSLO = '{"city":  "Oslo \u00e9"}'
TWO_CALLS = (
    f'Let me see.\n<tool_call>\n{{"name": "weather", "arguments": {OSLO}}}\n</tool_call>\n'
    '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
)


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with RunningServer(FakeEngine(template="<tool_call> <think>")) as running:
        yield running


@pytest.fixture(scope="module")
def client(server) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0) as client:
        yield client


def said(text, **more):
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": f"SAY:{text}"}],
        "max_tokens": 300,
        "tools": TOOLS,
        **more,
    }


def streamed(client, **options):
    with client.messages.stream(**options) as stream:
        return list(stream), stream.get_final_message()


def blocks(message):
    """Blocks without the ids of calls, which are another each time."""
    return [
        {name: value for name, value in block.to_dict().items() if name != "id"} for block in message.content
    ]


def test_calls_are_blocks(client):
    message = client.messages.create(**said(TWO_CALLS))
    text, weather, now = message.content
    assert (text.type, text.text, message.stop_reason) == ("text", "Let me see.", "tool_use")
    assert (weather.type, weather.name, weather.input) == ("tool_use", "weather", {"city": "Oslo \u00e9"})
    assert weather.caller.type == "direct"  # the specification requires it
    assert (now.name, now.input) == ("now", {}) and weather.id and weather.id != now.id


def test_the_stream_says_the_same_as_the_whole_answer(client):
    for text in (TWO_CALLS, f"<think>hm</think>{TWO_CALLS}", f"{TWO_CALLS} and so on", "<tool_call>{"):
        options = said(text, thinking={"type": "adaptive"})
        events, final = streamed(client, **options)
        whole = client.messages.create(**options)
        assert blocks(final) == blocks(whole) and final.stop_reason == whole.stop_reason
        assert final.usage == whole.usage
    pieces = [event.partial_json for event in events if event.type == "input_json"]
    assert not pieces


def test_events_of_calls_come_in_order(client):
    raw = list(client.messages.create(**said(TWO_CALLS), stream=True))
    places = [(event.type, event.index) for event in raw if event.type.startswith("content_block_st")]
    assert places == [(f"content_block_{what}", place) for place in range(3) for what in ("start", "stop")]
    starts = [event.content_block for event in raw if event.type == "content_block_start"]
    assert [(start.type, getattr(start, "input", None)) for start in starts[1:]] == [("tool_use", {})] * 2
    pieces = [event.delta.partial_json for event in raw if getattr(event, "index", 0) == 1
              and event.type == "content_block_delta"]  # fmt: skip
    assert "".join(pieces) == OSLO and len(pieces) > 10, "arguments come while they are written"
    assert raw[-2].delta.stop_reason == "tool_use"


def test_results_go_back(client, server):
    first = client.messages.create(**said(f"<think>hm</think>{TWO_CALLS}", thinking={"type": "adaptive"}))
    calls = [block for block in first.content if block.type == "tool_use"]
    results = [
        {"type": "tool_result", "tool_use_id": calls[0].id, "content": "4 C"},
        {
            "type": "tool_result",
            "tool_use_id": calls[1].id,
            "content": [{"type": "text", "text": "no clock"}],
            "is_error": True,
        },
        {"type": "text", "text": "SAY:ok", "cache_control": {"type": "ephemeral"}},
    ]
    messages = [
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": results},
    ]
    answer = client.messages.create(
        **{**said(""), "messages": messages, "system": [{"type": "text", "text": "s"}]}
    )
    assert (answer.stop_reason, answer.content[0].text) == ("end_turn", "ok")
    shown, tools, _ = server.engine.rendered[-1]
    assert [message["role"] for message in shown] == ["system", "user", "assistant", "tool", "tool", "user"]
    assert (shown[2]["content"], shown[2]["reasoning"]) == ("Let me see.", "hm")
    assert [call["function"] for call in shown[2]["tool_calls"]] == [
        {"name": "weather", "arguments": {"city": "Oslo \u00e9"}},
        {"name": "now", "arguments": {}},
    ]
    assert (shown[3]["tool_call_id"], shown[3]["content"]) == (calls[0].id, "4 C")
    assert shown[4]["content"] == "Error: no clock"
    assert tools[0]["function"]["parameters"] == WEATHER["input_schema"]


@pytest.mark.parametrize("stream", [False, True])
def test_one_call_at_most(client, stream):
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    options = said(TWO_CALLS, tool_choice=choice)
    message = streamed(client, **options)[1] if stream else client.messages.create(**options)
    assert [block.type for block in message.content] == ["text", "tool_use"]


def test_none_hides_the_tools(client, server):
    message = client.messages.create(**said(TWO_CALLS, tool_choice={"type": "none"}))
    assert message.content[0].text == TWO_CALLS and server.engine.rendered[-1][1] is None


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "weather"}])
def test_a_choice_that_has_to_be_made_is_a_grammar(client, server, choice):
    message = client.messages.create(
        **said('[{"name": "weather", "arguments": {"city": "Oslo"}}]', tool_choice=choice)
    )
    assert (message.content[0].name, message.content[0].input) == ("weather", {"city": "Oslo"})
    schema = server.engine.seen[-1][1].structured_outputs.json
    assert ("now" in schema) == (choice["type"] == "any")


def test_what_was_cut_off_is_as_much_as_there_is(client):
    limit = TWO_CALLS.encode().index("é".encode())
    message = client.messages.create(**said(TWO_CALLS, max_tokens=limit))
    assert (message.stop_reason, message.content[1].input) == ("max_tokens", {})
    text = '<tool_call>{"name": "weather", "arguments": {"city": "x", "days": 3, "unit": "c'
    message = client.messages.create(**said(text))
    assert message.content[0].input == {"city": "x", "days": 3}


def test_thinking_is_shown_to_those_who_ask(client):
    text = "<think>\nShall I?\n</think>\n\nYes."
    events, message = streamed(client, **said(text, thinking={"type": "adaptive"}))
    assert [(block.type) for block in message.content] == ["thinking", "text"]
    assert (message.content[0].thinking, message.content[1].text) == ("Shall I?", "Yes.")
    assert "".join(event.thinking for event in events if event.type == "thinking") == "Shall I?"
    for options in ({}, {"thinking": {"type": "disabled"}}):
        assert [block.type for block in client.messages.create(**said(text, **options)).content] == ["text"]


def test_an_answer_may_have_to_keep_to_a_schema(client, server):
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    config = {"format": {"type": "json_schema", "schema": schema}}
    client.messages.create(**said("{}", tools=[], output_config=config))
    assert json.loads(server.engine.seen[-1][1].structured_outputs.json) == schema


def test_tools_count(client, server):
    options = {"model": MODEL, "messages": [{"role": "user", "content": "x"}]}
    client.messages.count_tokens(**options, tools=TOOLS, tool_choice={"type": "auto"})
    assert server.engine.rendered[-1][1][0]["function"]["name"] == "weather"
    with pytest.raises(anthropic.BadRequestError, match=r"tools\[0\].name"):
        client.messages.count_tokens(**options, tools=[{"name": "", "input_schema": {}}])
