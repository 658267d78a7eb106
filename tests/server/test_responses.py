"""The Responses API, by the real OpenAI client."""

import json
from collections.abc import Iterator

import openai
import pytest

from redline.server.response_store import ResponseStore, StoredResponse
from tests.server.fake_engine import FakeEngine
from tests.server.running_server import RunningServer, eventually, post_bytes, read_response

MODEL = "fake-model"
PATH = "/v1/responses"
KEYS = ("sk-alice-123", "sk-bob-45678")
BODY = {"model": MODEL, "input": "x", "max_output_tokens": 5}


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def ask(server, **fields):
    status, _, body = server.post(PATH, {**BODY, **fields})
    return status, json.loads(body)


def test_create(client):
    text = "Gr\u00fc\u00dfe"
    response = client.responses.create(
        model=MODEL, input=f"SAY:{text}", instructions="be brief", metadata={"a": "b"}, temperature=0.5
    )
    assert response.output_text == text and response.status == "completed"
    assert response.id == f"resp_{response._request_id}" and response.object == "response"
    (item,) = response.output
    assert (item.type, item.role, item.status) == ("message", "assistant", "completed")
    assert item.id.startswith("msg_") and item.content[0].type == "output_text"
    num_prompt = len(f"[system]be brief[user]SAY:{text}".encode())
    usage = response.usage
    assert (usage.input_tokens, usage.output_tokens) == (num_prompt, len(text.encode()) + 1)
    assert usage.total_tokens == num_prompt + len(text.encode()) + 1
    assert usage.input_tokens_details.cached_tokens == 2
    assert (response.instructions, response.metadata, response.temperature) == ("be brief", {"a": "b"}, 0.5)
    assert response.error is None and response.incomplete_details is None and response.tools == []


def test_what_the_open_responses_specification_requires_is_there(server):
    asked = {
        "presence_penalty": 0.5,
        "frequency_penalty": -0.5,
        "safety_identifier": "somebody",
        "prompt_cache_key": "k",
    }
    status, response = ask(server, **asked)
    assert status == 200 and {name: response[name] for name in asked} == asked
    _, params = server.engine.seen[-1]
    assert (params.presence_penalty, params.frequency_penalty) == (0.5, -0.5)
    plain = ask(server)[1]
    assert (plain["presence_penalty"], plain["frequency_penalty"]) == (0, 0)
    assert (plain["safety_identifier"], plain["prompt_cache_key"]) == (None, None)


def test_there_is_no_compaction(server):
    """A checker takes 404 for "not here", and 405 for a fault."""
    assert server.post(f"{PATH}/compact", BODY)[0] == 404


def test_the_stream_says_the_same_as_the_whole_response(client):
    options = {"model": MODEL, "input": "SAY:a long \u00e9"}
    whole = client.responses.create(**options)
    with client.responses.stream(**options) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert final.output_text == whole.output_text == "a long \u00e9"
    assert final.usage == whole.usage and final.status == "completed"
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == final.output_text


def test_events_come_in_order_and_count_up(client):
    events = list(client.responses.create(model=MODEL, input="SAY:ab", stream=True))
    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(10))
    assert events[0].response.status == "in_progress" and events[0].response.output == []
    assert events[2].item.status == "in_progress" and events[2].item.content == []
    assert events[6].text == events[7].part.text == events[8].item.content[0].text == "ab"
    (item,) = events[-1].response.output
    assert {events[place].item_id for place in (3, 4, 5, 6, 7)} == {item.id, events[2].item.id}


def test_a_stream_names_its_events_and_has_no_done(server):
    status, headers, body = server.post(PATH, {**BODY, "stream": True})
    assert status == 200 and headers["content-type"] == "text/event-stream"
    for event in body.decode().removesuffix("\n\n").split("\n\n"):
        name, data = event.split("\n")
        assert name.removeprefix("event: ") == json.loads(data.removeprefix("data: "))["type"]


def test_a_cut_answer_is_incomplete(client):
    response = client.responses.create(model=MODEL, input="x", max_output_tokens=3)
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert response.output[0].status == "incomplete"
    *_, last = client.responses.create(model=MODEL, input="x", max_output_tokens=3, stream=True)
    assert (last.type, last.response.status) == ("response.incomplete", "incomplete")


def test_input_items_become_a_conversation(client, server):
    client.responses.create(
        model=MODEL,
        instructions="one",
        input=[
            {"role": "developer", "content": "two"},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]},
            {
                "type": "message",
                "id": "msg_1",
                "status": "completed",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "b", "annotations": []}],
            },
            {"role": "user", "content": "c"},
        ],
        max_output_tokens=2,
        top_p=0.5,
        temperature=0.25,
    )
    prompt, params = server.engine.seen[-1]
    assert bytes(prompt) == b"[system]one[system]two[user]a[assistant]b[user]c"
    assert (params.max_tokens, params.temperature, params.top_p) == (2, 0.25, 0.5)


@pytest.mark.parametrize("stream", [False, True])
def test_a_response_follows_another(client, server, stream):
    first = client.responses.create(model=MODEL, input="SAY:hi", instructions="gone", stream=stream)
    if stream:
        *_, last = first
        first = last.response
    assert client.responses.retrieve(first.id).output_text == "hi"
    second = client.responses.create(
        model=MODEL, input="and", previous_response_id=first.id, instructions="new", max_output_tokens=2
    )
    assert bytes(server.engine.seen[-1][0]) == b"[system]new[user]SAY:hi[assistant]hi[user]and"
    assert second.previous_response_id == first.id
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)
    client.responses.create(model=MODEL, input="!", previous_response_id=second.id, max_output_tokens=2)
    assert bytes(server.engine.seen[-1][0]).startswith(b"[user]SAY:hi[assistant]hi[user]and[assistant]")
    assert bytes(server.engine.seen[-1][0]).endswith(b"[user]!")


def test_what_shall_not_be_stored_is_not(client):
    response = client.responses.create(model=MODEL, input="SAY:secret", store=False)
    assert response.store is False
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(response.id)
    with pytest.raises(openai.BadRequestError) as unknown:
        client.responses.create(model=MODEL, input="x", previous_response_id=response.id)
    assert unknown.value.param == "previous_response_id"
    assert unknown.value.code == "previous_response_not_found"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "fields, param",
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0].type"),
        ({"input": [{"type": "function_call_output", "output": ""}]}, "input[0].call_id"),
        ({"input": "x" * 600}, "input"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_output_tokens": 600}, "max_output_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"metadata": {"a": 5}}, "metadata.a"),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format.schema"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "mcp", "name": "a"}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "name": "a"}]}, "tools"),
        ({"tools": [{"type": "function", "name": "a"}] * 2}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "name": "a"}}, "tool_choice"),
        ({"tool_choice": {"type": "web_search"}}, "tool_choice.type"),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": ""}]}, "input[0].call_id"),
        (
            {"input": [{"type": "function_call", "call_id": "c", "name": "a", "arguments": "["}]},
            "input[0].arguments",
        ),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
        ({"input": [{"type": "reasoning", "encrypted_content": "x"}]}, "input[0].encrypted_content"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
        ({"reasoning": {"summary": "detailed"}}, "reasoning.summary"),
        ({"include": ["message.output_text.logprobs"]}, "include"),
        ({"background": True}, "background"),
        ({"truncation": "auto"}, "truncation"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"previous_response_id": "resp_none"}, "previous_response_id"),
        ({"store": "yes"}, "store"),
    ],
)
def test_bad_requests_are_named(server, fields, param, stream):
    status, answer = ask(server, **{"stream": stream, **fields})
    assert status == 400, answer
    assert answer["error"]["param"] == param, answer


def test_what_changes_nothing_is_accepted(server):
    assert (
        ask(
            server,
            tools=[],
            tool_choice="auto",
            parallel_tool_calls=False,
            include=["reasoning.encrypted_content"],
            reasoning={},
            text={"format": {"type": "text"}, "verbosity": "medium"},
            truncation="disabled",
            prompt_cache_key="k",
            service_tier="auto",
            private=1,
        )[0]
        == 200
    )


def test_other_methods_and_models_are_refused(server):
    assert server.get(PATH)[0] == 405
    assert server.post(f"{PATH}/resp_1", {})[0] == 405
    assert server.get(f"{PATH}/resp_{'a' * 500}")[0] == 404
    assert ask(server, model="other")[0] == 404


def test_a_failure_in_the_middle_of_a_stream_is_an_event():
    engine = FakeEngine(step_s=0.005)
    with RunningServer(engine) as server, server.connect() as connection:
        body = {**BODY, "stream": True, "max_output_tokens": 400}
        connection.sendall(post_bytes(PATH, json.dumps(body).encode()))
        eventually(lambda: any(steps > 2 for steps in engine.running.values()), "some tokens")
        engine.bug = ValueError("secret /path")
        status, _, answer = read_response(connection)
    *before, last = answer.decode().removesuffix("\n\n").split("\n\n")
    name, data = last.split("\n")
    error = json.loads(data.removeprefix("data: "))
    assert status == 200 and name == "event: error" and error["code"] == "internal_error"
    assert error["sequence_number"] == len(before) and "secret" not in data


def stored(size):
    return StoredResponse("x" * size, [])


def test_nobody_reads_follows_or_deletes_the_response_of_another_key():
    alice, bob = ({"authorization": f"Bearer {key}"} for key in KEYS)
    with RunningServer(api_keys=KEYS) as server:

        def one(method, response_id, key):
            head = f"{method} {PATH}/{response_id} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            status, _, body = server.raw(f"{head}Authorization: {key['authorization']}\r\n\r\n".encode())
            return status, body

        def follow(response_id, key):
            return server.post(PATH, {**BODY, "previous_response_id": response_id}, **key)

        body = server.post(PATH, BODY, **alice)[2]
        response_id = json.loads(body)["id"]
        for method in ("GET", "DELETE"):
            status, refusal = one(method, response_id, bob)
            assert (status, json.loads(refusal)["error"]["code"]) == (404, "response_not_found")
        status, _, refusal = follow(response_id, bob)
        assert (status, json.loads(refusal)["error"]["code"]) == (400, "previous_response_not_found")
        assert one("GET", response_id, alice) == (200, body)
        assert follow(response_id, alice)[0] == 200
        assert one("DELETE", response_id, alice)[0] == 200
        assert one("GET", response_id, alice)[0] == 404


@pytest.mark.parametrize("size", [1, 30], ids=["number", "size"])
def test_who_keeps_much_takes_no_room_from_those_who_keep_little(size):
    store = ResponseStore(max_responses=10, max_bytes=100)
    store.put("bob", "b", stored(size))
    for number in range(50):
        store.put("alice", f"a{number}", stored(size))
    assert store.get("bob", "b") is not None and store.get("alice", "a49") is not None
    assert len(store) == (10 if size == 1 else 3)
    store.delete("bob", "b")
    store.put("alice", "last", stored(100))  # alone she has all of the room
    assert store.get("alice", "last") is not None and len(store) == 1


def test_the_store_is_bounded_by_number_and_size():
    store = ResponseStore(max_responses=3, max_bytes=100)
    for name in "abc":
        store.put("me", name, stored(10))
    assert store.get("me", "a") is not None  # now "b" is the least recently used
    store.put("me", "d", stored(10))
    assert [name for name in "abcd" if store.get("me", name)] == ["a", "c", "d"]
    store.put("me", "e", stored(85))
    assert [name for name in "acde" if store.get("me", name)] == ["d", "e"]
    store.put("me", "f", stored(101))
    assert store.get("me", "f") is None and len(store) == 2
    store.delete("me", "e")
    store.put("me", "g", stored(90))
    assert [name for name in "dg" if store.get("me", name)] == ["d", "g"]
