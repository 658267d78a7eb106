"""Functions, reasoning and formats in the Responses API, by the real OpenAI client."""

import json
from collections.abc import Iterator

import openai
import pytest
from pydantic import BaseModel

from tests.server.fake_engine import FakeEngine
from tests.server.running_server import RunningServer

MODEL = "fake-model"
WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "d",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": True,
}
TOOLS = [WEATHER, {"type": "function", "name": "now", "parameters": {"type": "object", "properties": {}}}]
OSLO = '{"city":  "Oslo \u00e9"}'
TWO_CALLS = (
    f'Let me see.\n<tool_call>\n{{"name": "weather", "arguments": {OSLO}}}\n</tool_call>\n'
    '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
)


class Person(BaseModel):
    name: str
    age: int


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with RunningServer(FakeEngine(template="<tool_call> <think>")) as running:
        yield running


@pytest.fixture(scope="module")
def client(server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def said(text, **more):
    return {"model": MODEL, "input": f"SAY:{text}", "tools": TOOLS, **more}


def items(response):
    """Items without ids, which are others each time."""
    shown = [item.to_dict() for item in response.output]
    return [{name: each[name] for name in each if name not in ("id", "call_id")} for each in shown]


def test_calls_are_items(client):
    response = client.responses.create(**said(TWO_CALLS))
    message, weather, now = response.output
    assert response.output_text == message.content[0].text == "Let me see."
    assert (weather.type, weather.name, weather.arguments, weather.status) == (
        "function_call",
        "weather",
        OSLO,
        "completed",
    )
    assert (now.name, now.arguments) == ("now", "{}")
    assert len({item.id for item in response.output}) == 3 and weather.call_id != now.call_id
    assert (response.tools[0].name, response.tools[0].strict, response.tool_choice) == (
        "weather",
        True,
        "auto",
    )


def test_the_stream_says_the_same_as_the_whole_response(client):
    for text in (TWO_CALLS, f"<think>hm</think>{TWO_CALLS}", f"{TWO_CALLS} and so on", "<tool_call>{", ""):
        events = list(client.responses.create(**said(text), stream=True))
        final = events[-1].response
        whole = client.responses.create(**said(text))
        assert items(final) == items(whole) and final.usage == whole.usage, text
        assert [event.sequence_number for event in events] == list(range(len(events)))


def test_the_clients_own_helper_puts_a_stream_together(client):
    with client.responses.stream(**said(TWO_CALLS)) as stream:
        deltas = [each.snapshot for each in stream if each.type == "response.function_call_arguments.delta"]
        final = stream.get_final_response()
    assert OSLO in deltas and deltas[-1] == "{}"
    assert final.output[1].parsed_arguments == {"city": "Oslo \u00e9"}  # it is strict, the other is not


def test_events_of_a_call_come_in_order(client):
    text = '<tool_call>{"name": "weather", "arguments": {}}</tool_call>'
    events = list(client.responses.create(**said(text), stream=True))
    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        *["response.function_call_arguments.delta"] * 2,
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
    ]
    added, done = events[2].item, events[-2].item
    assert (added.arguments, added.status, added.name) == ("", "in_progress", "weather")
    assert (done.arguments, done.status, done.call_id) == ("{}", "completed", added.call_id)
    assert {event.item_id for event in events[3:6]} == {added.id}
    assert (events[5].arguments, events[5].name, events[5].output_index) == ("{}", "weather", 0)


@pytest.mark.parametrize("stored", [False, True])
def test_results_go_back(client, server, stored):
    first = client.responses.create(**said(f"<think>hm</think>{TWO_CALLS}", store=stored))
    calls = [item for item in first.output if item.type == "function_call"]
    results = [
        {"type": "function_call_output", "call_id": calls[0].call_id, "output": "4 C"},
        {
            "type": "function_call_output",
            "call_id": calls[1].call_id,
            "output": [{"type": "input_text", "text": "12:00"}],
        },
        {"role": "user", "content": "SAY:ok"},
    ]
    if stored:
        given = {"input": results, "previous_response_id": first.id}
    else:
        given = {
            "input": [
                {"role": "user", "content": f"SAY:<think>hm</think>{TWO_CALLS}"},
                *first.output,
                *results,
            ]
        }
    second = client.responses.create(**{**said(""), **given})
    shown, tools, _ = server.engine.rendered[-1]
    assert [message["role"] for message in shown] == ["user", "assistant", "tool", "tool", "user"]
    assert (shown[1]["content"], shown[1]["reasoning"]) == ("Let me see.", "hm")
    assert [call["function"]["name"] for call in shown[1]["tool_calls"]] == ["weather", "now"]
    assert [message["content"] for message in shown[2:4]] == ["4 C", "12:00"]
    assert tools[0]["function"]["name"] == "weather"
    if stored:
        listed = client.responses.input_items.list(second.id).data
        assert [item.type for item in listed] == ["message", "function_call_output", "function_call_output"]


def test_the_input_of_a_response_is_listed_in_pages(client):
    asked = [{"role": "user", "content": f"{number}"} for number in range(5)]
    response = client.responses.create(model=MODEL, input=asked, max_output_tokens=1)
    page = client.responses.input_items.list(response.id, order="asc", limit=2)
    assert [item.content[0].text for item in page] == ["0", "1", "2", "3", "4"]  # the client turns the pages
    assert [item.content[0].text for item in client.responses.input_items.list(response.id).data] == list(
        "43210"
    )
    for query in ({"limit": 0}, {"limit": 101}, {"after": "nothing"}, {"order": "up"}):
        with pytest.raises(openai.BadRequestError) as caught:
            client.responses.input_items.list(response.id, **query)
        assert caught.value.param == next(iter(query))
    with pytest.raises(openai.NotFoundError):
        client.responses.input_items.list("resp_none")


def test_what_does_not_run_cannot_be_cancelled(client):
    response = client.responses.create(model=MODEL, input="x", max_output_tokens=1)
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.cancel(response.id)
    assert caught.value.code == "not_cancellable"
    with pytest.raises(openai.NotFoundError):
        client.responses.cancel("resp_none")


def test_input_tokens_are_those_of_the_prompt(client, server):
    first = client.responses.create(model=MODEL, input="SAY:a", max_output_tokens=5)
    asked = {"model": MODEL, "input": "SAY:b", "instructions": "s", "previous_response_id": first.id}
    count = client.responses.input_tokens.count(**asked).input_tokens
    assert count == len("[system]s[user]SAY:a[assistant]a[user]SAY:b[assistant]")
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.input_tokens.count(**asked, tools=[{"type": "web_search", "name": "w"}])
    assert caught.value.param == "tools[0].type"


def test_reasoning_is_an_item(client):
    text = "<think>\nShall I?\n</think>\n\nYes."
    response = client.responses.create(**said(text))
    assert [item.type for item in response.output] == ["reasoning", "message"]
    assert response.output[0].content[0].text == "Shall I?" and response.output_text == "Yes."
    assert response.usage.output_tokens_details.reasoning_tokens > 0
    events = list(client.responses.create(**said(text), stream=True))
    assert "".join(e.delta for e in events if e.type == "response.reasoning_text.delta") == "Shall I?"
    assert [e.text for e in events if e.type == "response.reasoning_text.done"] == ["Shall I?"]


@pytest.mark.parametrize("stream", [False, True])
def test_one_call_at_most(client, stream):
    options = said(TWO_CALLS, parallel_tool_calls=False)
    if stream:
        *_, last = client.responses.create(**options, stream=True)
        response = last.response
    else:
        response = client.responses.create(**options)
    assert [item.type for item in response.output] == ["message", "function_call"]


@pytest.mark.parametrize(
    "choice, shown, forced",
    [
        ({"type": "function", "name": "now"}, ["weather", "now"], ["now"]),
        ("required", ["weather", "now"], ["weather", "now"]),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "now"}]},
            ["now"],
            [],
        ),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "now"}]},
            ["now"],
            ["now"],
        ),
        ("none", None, []),
    ],
)
def test_tool_choice(client, server, choice, shown, forced):
    response = client.responses.create(**said('[{"name": "now", "arguments": {}}]', tool_choice=choice))
    tools = server.engine.rendered[-1][1]
    assert shown == (tools and [tool["function"]["name"] for tool in tools])
    form = server.engine.seen[-1][1].structured_outputs
    assert forced == ([] if form is None else list(json.loads(form.json)["$defs"]))
    assert response.output[0].type == ("function_call" if forced else "message")


def test_a_text_format_is_kept_to(client, server):
    response = client.responses.parse(model=MODEL, input='SAY:{"name": "Ada", "age": 36}', text_format=Person)
    assert response.output_parsed == Person(name="Ada", age=36)
    assert json.loads(server.engine.seen[-1][1].structured_outputs.json)["required"] == ["name", "age"]
    assert response.text.format.name == "Person"
    client.responses.create(model=MODEL, input="SAY:{}", text={"format": {"type": "json_object"}})
    assert server.engine.seen[-1][1].structured_outputs.json_object


def test_effort_reaches_the_template(client, server):
    client.responses.create(**said("x", reasoning={"effort": "low", "summary": "auto"}))
    assert server.engine.rendered[-1][2] == {"reasoning_effort": "low"}
