"""The real Anthropic client against the real server."""

import asyncio
import json
from collections.abc import Iterator
from http import HTTPStatus

import anthropic
import pytest

from redline.server.anthropic_errors import MessagesErrors
from redline.server.request_log import RequestLog
from tests.server.fake_engine import FakeEngine
from tests.server.running_server import RunningServer, eventually, post_bytes, read_response

MODEL = "fake-model"
PATH, COUNT = "/v1/messages", "/v1/messages/count_tokens"
BODY = {"model": MODEL, "messages": [{"role": "user", "content": "x"}], "max_tokens": 5}


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0) as client:
        yield client


def said(text):
    return [{"role": "user", "content": f"SAY:{text}"}]


def ask(server, path=PATH, **fields):
    status, headers, body = server.post(path, {**BODY, **fields})
    return status, headers, json.loads(body)


def events_of(server, **fields):
    """(name, data) of a stream, as they are on the wire."""
    status, headers, body = server.post(PATH, {**BODY, "stream": True, **fields})
    assert status == 200 and headers["content-type"] == "text/event-stream" and b"\r" not in body
    events = []
    for event in body.decode().removesuffix("\n\n").split("\n\n"):
        name, data = event.split("\n")
        events.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    assert all(name == data["type"] for name, data in events)
    return events


def test_create(client):
    text = "Gr\u00fc\u00dfe"
    message = client.messages.create(model=MODEL, messages=said(text), max_tokens=50)
    assert [(block.type, block.text) for block in message.content] == [("text", text)]
    assert (message.type, message.role, message.model) == ("message", "assistant", MODEL)
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
    assert message.id == f"msg_{message._request_id}"
    num_prompt = len(f"[user]SAY:{text}".encode())
    usage = message.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens) == (num_prompt - 2, 2)
    assert (usage.output_tokens, usage.cache_creation_input_tokens) == (len(text.encode()) + 1, 0)


def test_stream_says_the_same_as_the_whole_answer(client):
    options = {"model": MODEL, "messages": said("a long \u00e9"), "max_tokens": 50}
    whole = client.messages.create(**options)
    with client.messages.stream(**options) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == whole.content[0].text == final.content[0].text
    assert (final.stop_reason, final.usage.output_tokens) == (whole.stop_reason, whole.usage.output_tokens)
    assert final.usage.input_tokens == whole.usage.input_tokens
    assert final.usage.cache_read_input_tokens == 2
    raw = list(client.messages.create(**options, stream=True))
    assert raw[0].message.id.startswith("msg_") and raw[-1].type == "message_stop"


def test_events_come_in_order(server):
    events = events_of(server, messages=said("ab"))
    assert [name for name, _ in events] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    start = events[0][1]["message"]
    assert (start["content"], start["stop_reason"], start["stop_sequence"]) == ([], None, None)
    assert start["usage"]["input_tokens"] == len("[user]SAY:ab")
    assert events[1][1]["content_block"] == {"type": "text", "text": "", "citations": None}
    assert {data["index"] for _, data in events[1:5]} == {0}
    assert [data["delta"] for _, data in events[2:4]] == [
        {"type": "text_delta", "text": "a"},
        {"type": "text_delta", "text": "b"},
    ]
    ending = events[5][1]
    assert ending["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert ending["usage"] == {
        "input_tokens": len("[user]SAY:ab") - 2,
        "cache_creation": None,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 2,
        "output_tokens": 3,
        "output_tokens_details": {"thinking_tokens": 0},
        "inference_geo": None,
        "server_tool_use": None,
        "service_tier": "standard",
    }


def test_a_message_has_every_member_that_the_api_requires(server):
    """Generated clients and conformance checkers want them, empty or not."""
    message = ask(server, messages=said("ab"))[2]
    usage = message.pop("usage")
    assert message.pop("id").startswith("msg_")
    assert message == {
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [{"type": "text", "text": "ab", "citations": None}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "stop_details": None,
        "container": None,
    }
    assert usage["output_tokens"] == 3 and usage["output_tokens_details"] == {"thinking_tokens": 0}


def test_an_answer_without_text_has_no_block(server):
    assert [name for name, _ in events_of(server, messages=said(""))] == [
        "message_start",
        "message_delta",
        "message_stop",
    ]
    assert ask(server, messages=said(""))[2]["content"] == []


def test_a_limit_and_a_stop_sequence_are_told_apart(server):
    assert ask(server, max_tokens=3)[2]["stop_reason"] == "max_tokens"
    engine = FakeEngine()
    engine.stop_reason = "END"
    with RunningServer(engine) as stopping:
        answer = ask(stopping, messages=said("ab"))[2]
        assert (answer["stop_reason"], answer["stop_sequence"]) == ("stop_sequence", "END")
        delta = events_of(stopping, messages=said("ab"))[-2][1]["delta"]
        assert delta == {"stop_reason": "stop_sequence", "stop_sequence": "END"}


def test_every_parameter_reaches_the_engine(client, server):
    client.messages.create(
        model=MODEL,
        max_tokens=9,
        system=[{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}],
        messages=[
            {"role": "user", "content": "a"},
            {"role": "user", "content": [{"type": "text", "text": "b"}, {"type": "text", "text": "c"}]},
            {"role": "assistant", "content": "d"},
            {"role": "user", "content": "e"},
        ],
        stop_sequences=["x1", "x2"],
        extra_body={"temperature": 0.5, "top_p": 0.75, "top_k": 7},  # not in the latest clients
        metadata={"user_id": "somebody"},
        extra_headers={"anthropic-version": "1999-01-01"},
    )
    prompt, params = server.engine.seen[-1]
    assert bytes(prompt) == b"[system]be brief[user]a\nb\nc[assistant]d[user]e"
    assert (params.max_tokens, params.temperature, params.top_p, params.top_k) == (9, 0.5, 0.75, 7)
    assert params.stop == ("x1", "x2")


def test_count_tokens_counts_what_is_sent(client):
    options = {"model": MODEL, "system": "s", "messages": [{"role": "user", "content": "hello"}]}
    count = client.messages.count_tokens(**options).input_tokens
    assert count == len("[system]s[user]hello[assistant]")
    longer = [{"role": "user", "content": "x" * 5000}]  # than the context
    assert client.messages.count_tokens(model=MODEL, messages=longer).input_tokens > 5000


def test_many_requests_at_once_get_their_own_answers(server):
    async def one(client, number):
        messages = said(f"answer {number}")
        if number % 2:
            message = await client.messages.create(model=MODEL, messages=messages, max_tokens=20)
            return message.content[0].text
        async with client.messages.stream(model=MODEL, messages=messages, max_tokens=20) as stream:
            return "".join([text async for text in stream.text_stream])

    async def all_of_them():
        async with anthropic.AsyncAnthropic(base_url=server.url, api_key="none") as client:
            return await asyncio.gather(*(one(client, number) for number in range(20)))

    assert asyncio.run(all_of_them()) == [f"answer {number}" for number in range(20)]


@pytest.mark.parametrize("path", [PATH, COUNT])
@pytest.mark.parametrize(
    "fields, words",
    [
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages is missing"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}, "content[0].type"),
        (
            {
                "messages": [
                    {
                        "role": "assistant",
                        "content": [{"type": "tool_use", "id": "t", "name": "n", "input": {}}],
                    }
                ]
            },
            "messages[0].content[0].type is 'tool_use'",
        ),
        ({"messages": [{"role": "user"}]}, "messages[0].content is missing"),
        ({"system": 5}, "system"),
        ({"tools": [{"name": "t", "input_schema": {}}]}, "tools has 1 entries"),
        ({"tools": [{"name": "a b"}]}, "tools[0].name"),
        ({"tools": [{"name": "a"}, {"name": "a"}]}, "tools is"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"name": "a", "input_schema": {"type": "array"}}]}, "tools[0].input_schema.type"),
        ({"tools": [{"name": "a", "defer_loading": True}]}, "tools[0].defer_loading"),
        ({"tool_choice": {"type": "any"}}, "tool_choice.type is"),
        ({"tool_choice": {"type": "tool", "name": "a"}}, "tool_choice.name is 'a'"),
        ({"tool_choice": "auto"}, "tool_choice is"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "content[0].type is null"),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t"}]}]},
            "messages[0].content[0].tool_use_id is 't'",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "tool_use", "id": "t", "name": "n", "input": {}}]}
                ]
            },
            "messages[0].content[0].type is 'tool_use'",
        ),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking.type is 'enabled'"),
        ({"output_config": {"effort": "low"}}, "output_config.effort"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
        ({"mcp_servers": [{}]}, "mcp_servers is"),
    ],
)
def test_bad_conversations_are_named(server, path, fields, words):
    status, headers, answer = ask(server, path, **fields)
    assert status == 400 and words in answer["error"]["message"], answer
    assert list(answer) == ["type", "error", "request_id"] and answer["type"] == "error"
    assert answer["error"]["type"] == "invalid_request_error"
    assert answer["request_id"] == headers["request-id"] == headers["x-request-id"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "fields, words",
    [
        ({"max_tokens": None}, "max_tokens is missing"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"max_tokens": 600}, "max_tokens"),
        ({"temperature": 1.5}, "temperature is 1.5"),
        ({"top_p": -1}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"top_k": 2**63}, "top_k"),
        ({"stop_sequences": "x"}, "stop_sequences"),
        ({"stop_sequences": [""]}, "stop_sequences[0]"),
        ({"stop_sequences": ["x" * 2000]}, "stop_sequences[0]"),
        ({"service_tier": "priority"}, "service_tier"),
        ({"stream": "yes"}, "stream"),
    ],
)
def test_bad_parameters_are_named(server, stream, fields, words):
    status, _, answer = ask(server, **{"stream": stream, **fields})
    assert status == 400 and words in answer["error"]["message"], answer
    assert answer["error"]["type"] == "invalid_request_error"


def test_what_changes_nothing_is_accepted(server):
    fields = {
        "tools": [],
        "thinking": {"type": "disabled"},
        "service_tier": "auto",
        "private": 1,
        "system": "",
    }
    assert ask(server, **fields)[0] == 200
    assert ask(server, tool_choice={"type": "auto"}, stop_sequences=None, temperature=1)[0] == 200


def test_errors_become_the_clients_exceptions(client, server):
    with pytest.raises(anthropic.BadRequestError) as bad:
        client.messages.create(model=MODEL, messages=said("x"), max_tokens=5, extra_body={"top_k": -1})
    assert bad.value.body["error"]["type"] == "invalid_request_error" and bad.value.request_id
    with pytest.raises(anthropic.NotFoundError) as missing:
        client.messages.create(model="other", messages=said("x"), max_tokens=5)
    assert missing.value.body["error"]["type"] == "not_found_error"
    with pytest.raises(anthropic.APIStatusError) as large:
        client.messages.create(model=MODEL, messages=said("x" * 5 * 2**20), max_tokens=5)
    assert large.value.status_code == 413 and large.value.body["error"]["type"] == "request_too_large"


def test_failures_around_the_endpoint_have_its_shape_too(server):
    def failed(answer):
        status, headers, body = answer
        told = json.loads(body)
        assert int(headers["content-length"]) == len(body) and told["request_id"] == headers["request-id"]
        return status, told["error"]["type"]

    assert failed(server.get(PATH)) == (405, "invalid_request_error")
    assert failed(server.get("/v1/messages/batches")) == (404, "not_found_error")
    assert failed(server.post(PATH, b"{")) == (400, "invalid_request_error")
    assert failed(server.post(COUNT, BODY, content_type="text/plain")) == (415, "invalid_request_error")
    assert failed(server.post(PATH, BODY, x="a" * 40_000))[0] == 431
    status, headers, body = server.post("/v1/completions", {"model": MODEL})
    assert "request-id" not in headers and list(json.loads(body)["error"])[-1] == "code"


@pytest.mark.parametrize(
    "status, kind",
    [
        (401, "authentication_error"),
        (403, "permission_error"),
        (408, "timeout_error"),
        (500, "api_error"),
        (503, "api_error"),
        (504, "timeout_error"),
    ],
)
@pytest.mark.parametrize("parts", [[b"no JSON"], [b'{"error":', b'{"message":"why"}}']])
def test_whatever_fails_inside_is_translated(status, kind, parts):
    async def app(scope, receive, send):
        headers = [(b"Content-Length", b"999"), (b"www-authenticate", b"Bearer")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for number, part in enumerate(parts, 1):
            await send({"type": "http.response.body", "body": part, "more_body": number < len(parts)})

    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": PATH, "headers": []}
    asyncio.run(RequestLog(MessagesErrors(app))(scope, None, send))
    start, body = sent
    told = json.loads(body["body"])
    headers = dict(start["headers"])
    assert (start["status"], told["error"]["type"]) == (status, kind)
    assert headers[b"content-length"] == b"%d" % len(body["body"]) and b"Content-Length" not in headers
    assert headers[b"www-authenticate"] == b"Bearer"
    assert told["error"]["message"] == ("why" if len(parts) == 2 else HTTPStatus(status).phrase)


def test_a_key_is_asked_for_in_the_clients_words():
    with RunningServer(api_keys=("sk-right-Key-1",)) as server:
        for key in ("sk-right-Key-1", "sk-wrong-Key-1"):
            with anthropic.Anthropic(base_url=server.url, api_key=key, max_retries=0) as client:
                if key == server.config.api_keys[0]:
                    assert client.messages.create(**BODY).stop_reason == "max_tokens"
                    continue
                with pytest.raises(anthropic.AuthenticationError) as refused:
                    client.messages.create(**BODY)
        told = refused.value.body
        assert told["error"]["type"] == "authentication_error"
        assert told["request_id"] == refused.value.request_id


def test_a_full_queue_is_a_rate_limit_error():
    engine = FakeEngine()
    engine.held = True
    with RunningServer(engine, max_waiting=1) as server, server.connect() as connection:
        connection.sendall(post_bytes(PATH, json.dumps(BODY).encode()))
        eventually(lambda: engine.running, "one runs")
        with (
            anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0) as client,
            pytest.raises(anthropic.RateLimitError) as limited,
        ):
            client.messages.create(**BODY)
        assert limited.value.response.headers["retry-after"]
        engine.held = False
        assert read_response_of(connection) == 200


def read_response_of(connection):
    """The first line is enough: the connection is kept alive."""
    return int(connection.recv(65536).split()[1])


@pytest.mark.parametrize("stream", [False, True])
def test_a_dead_engine_is_told_in_the_clients_words(stream):
    engine = FakeEngine()
    engine.held = True
    with RunningServer(engine) as server, server.connect() as connection:
        body = json.dumps({**BODY, "stream": stream}).encode()
        connection.sendall(post_bytes(PATH, body))
        eventually(lambda: engine.running, "it runs")
        engine.die()
        status, _, answer = read_response(connection)
        assert (status, json.loads(answer)["error"]["type"]) == (503, "api_error")
        assert b"0x7fff" not in answer


def test_a_failure_in_the_middle_of_a_stream_is_an_event():
    engine = FakeEngine(step_s=0.005)
    with RunningServer(engine) as server, server.connect() as connection:
        connection.sendall(post_bytes(PATH, json.dumps({**BODY, "stream": True, "max_tokens": 400}).encode()))
        eventually(lambda: any(steps > 2 for steps in engine.running.values()), "some tokens")
        engine.bug = ValueError("secret /path")
        status, _, body = read_response(connection)
    assert status == 200 and body.startswith(b"event: message_start\n") and b"message_stop" not in body
    name, data = body.decode().removesuffix("\n\n").split("\n\n")[-1].split("\n")
    error = json.loads(data.removeprefix("data: "))
    assert name == "event: error" and error["type"] == "error" and error["error"]["type"] == "api_error"
    assert "secret" not in data


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_its_request(stream):
    engine = FakeEngine(step_s=0.01)
    with RunningServer(engine) as server:
        with server.connect() as connection:
            connection.sendall(
                post_bytes(PATH, json.dumps({**BODY, "max_tokens": 400, "stream": stream}).encode())
            )
            eventually(lambda: engine.running, "it runs")
        eventually(lambda: engine.aborted, "aborted")


@pytest.mark.parametrize("stream", [False, True])
def test_reasoning_is_counted_and_not_sent(stream):
    with RunningServer(reasoning_parser="think") as server:
        given = {"messages": said("<think>why</think>so"), "max_tokens": 50}
        if stream:
            events = events_of(server, **given)
            text = "".join(
                data["delta"].get("text", "") for name, data in events if name.endswith("block_delta")
            )
            usage = events[-2][1]["usage"]
        else:
            answer = ask(server, **given)[2]
            text, usage = answer["content"][0]["text"], answer["usage"]
    assert (text, usage["output_tokens"]) == ("so", len("<think>why</think>so") + 1)
    assert 3 <= usage["output_tokens_details"]["thinking_tokens"] < usage["output_tokens"] - 2
