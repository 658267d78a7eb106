"""Both clients against the real server."""

import asyncio
import json
from contextlib import aclosing

import pytest

from redline.client._core import EventReader
from redline.client.async_client import AsyncRedlineClient
from redline.client.client import RedlineClient
from redline.client.errors import APIError, BadAnswer, ConnectionFailed
from redline.protocol.chat import ChatChunk
from tests.server.fake_engine import FakeEngine
from tests.server.running_server import RunningServer, eventually

SAY = [{"role": "user", "content": "SAY:na\u00efve"}]


@pytest.fixture(scope="module")
def server():
    with RunningServer() as server:
        yield server


@pytest.fixture
def client(server):
    with RedlineClient(server.url, model="fake-model") as client:
        yield client


def run(server, work):
    """The result of `work(client)` with an asynchronous client."""

    async def main():
        async with AsyncRedlineClient(f"{server.url}/v1/", model="fake-model") as client:
            return await work(client)

    return asyncio.run(main())


async def collect(stream):
    return [chunk async for chunk in stream]


def test_chat(client, server):
    answer = client.chat(SAY)
    assert answer.choices[0].message.content == "na\u00efve" and answer.usage.completion_tokens == 7
    other = run(server, lambda client: client.chat(SAY))
    assert other.choices == answer.choices and other.usage == answer.usage


def test_complete(client, server):
    answer = client.complete(["SAY:a", "SAY:b"])
    assert [choice.text for choice in answer.choices] == ["a", "b"]
    assert run(server, lambda client: client.complete(["SAY:a", "SAY:b"])).choices == answer.choices


def test_streams_carry_usage(client, server):
    chunks = list(client.stream_chat(SAY))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "na\u00efve"
    assert chunks[-1].usage.completion_tokens == 7 and chunks[0].choices[0].delta.role == "assistant"
    chunks = run(server, lambda client: collect(client.stream_complete("SAY:xyz", return_token_ids=True)))
    assert [c.choices[0].token_ids for c in chunks if c.choices] == [[120], [121], [122], [256]]
    assert chunks[-1].usage.prompt_tokens == 7
    assert [c.choices for c in client.stream_complete("SAY:xyz", return_token_ids=True)] == [
        c.choices for c in chunks
    ]


def test_models_and_health(client, server):
    assert [model.max_model_len for model in client.models()] == [512]
    assert run(server, lambda client: client.models())[0].id == "fake-model"
    assert client.healthy() and run(server, lambda client: client.healthy())


@pytest.mark.parametrize("ask", ["chat", "stream_chat"])
def test_refusals_are_raised_with_their_details(client, server, ask):
    with pytest.raises(APIError) as caught:
        list(getattr(client, ask)(SAY, temperature=9))
    assert caught.value.status == 400 and caught.value.error.param == "temperature"
    assert len(caught.value.request_id) == 32 and caught.value.retry_after_s is None

    async def work(client):
        if ask == "chat":
            await client.chat(SAY, temperature=9)
        await collect(client.stream_chat(SAY, temperature=9))

    with pytest.raises(APIError) as caught:
        run(server, work)
    assert caught.value.status == 400 and caught.value.error.param == "temperature"


def test_a_dead_engine_and_no_server_are_told_apart():
    with RunningServer() as server, RedlineClient(server.url, model="fake-model") as client:
        server.engine.die()
        assert not client.healthy()
        with pytest.raises(APIError) as caught:
            client.chat(SAY)
        assert caught.value.status == 503 and caught.value.retry_after_s == 1.0
    with RedlineClient(server.url, model="fake-model") as client:
        assert not client.healthy()
        with pytest.raises(ConnectionFailed):
            client.chat(SAY)
        with pytest.raises(ConnectionFailed):
            list(client.stream_chat(SAY))
    assert run(server, lambda client: client.healthy()) is False


def test_an_error_event_is_raised():
    engine = FakeEngine(step_s=0.01)
    with RunningServer(engine) as server, RedlineClient(server.url, model="fake-model") as client:
        stream = client.stream_complete("x", max_tokens=400)
        next(stream)
        engine.die()
        with pytest.raises(APIError) as caught:
            list(stream)
        assert caught.value.status is None and caught.value.error.code == "engine_dead"


def test_leaving_a_stream_aborts_its_request():
    engine = FakeEngine(step_s=0.01)
    with RunningServer(engine) as server:
        with RedlineClient(server.url, model="fake-model") as client:
            stream = client.stream_complete("x", max_tokens=400)
            next(stream)
            stream.close()
            eventually(lambda: len(engine.aborted) == 1, "abort")

        async def work(client):
            async with aclosing(client.stream_complete("x", max_tokens=400)) as stream:
                await anext(stream)

        run(server, work)
        eventually(lambda: len(engine.aborted) == 2, "abort")


def test_headers_key_and_names_are_sent(server, caplog):
    caplog.set_level("INFO", logger="redline.server")
    with RedlineClient(server.url, api_key="secret") as client:
        answer = client.complete(
            "x", model="fake-model", max_tokens=1, extra_headers={"x-request-id": "load-1"}
        )
    eventually(lambda: answer.id.removeprefix("cmpl-") in caplog.text, "log record")
    assert "client_id=load-1" in caplog.text and "secret" not in caplog.text


def test_a_stream_cut_short_is_not_taken_for_a_whole_one():
    reader = EventReader(ChatChunk)
    chunk = {"id": "x", "choices": [{"index": 0, "delta": {"content": None}}], "unknown": 1}
    (parsed,) = reader.feed(f"data: {json.dumps(chunk)}\r\n\r\n".encode())
    assert parsed.choices[0].delta.content is None
    with pytest.raises(BadAnswer, match="DONE"):
        reader.close()
    assert reader.feed(b"data: [DONE]\n\n") == []
    reader.close()


def test_what_is_not_an_answer_is_said():
    with pytest.raises(BadAnswer, match="ChatChunk"):
        EventReader(ChatChunk).feed(b"data: {}\n\n")
