"""Numbers beyond their bounds, links that must not be followed, failures that must not talk, growing work."""

import json
import re
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from redline.protocol.anthropic import MessagesRequest
from redline.protocol.chat import ChatRequest
from redline.protocol.completions import CompletionRequest
from redline.protocol.embeddings import EmbeddingRequest
from redline.protocol.responses import ResponsesRequest
from redline.protocol.scoring import RerankRequest, ScoreRequest
from redline.protocol.tokenization import DetokenizeRequest
from redline.server.unknown import MAX_NAMES
from tests.server.fake_engine import FakeEngine
from tests.server.running_server import RunningServer, eventually, post_bytes
from tests.server.test_bad_bodies import Talker
from tests.server.test_openapi import WITH_BODY, body_of, needed_by, resolved

MESSAGES = [{"role": "user", "content": "x"}]
# Addresses, files, tracebacks and types of Python.
INSIDE = re.compile(
    rb"0x[0-9a-f]{6,}|Traceback|/site-packages/|\.py\b|/home/|/root/|<class |object at |Secret"
)


@pytest.fixture(scope="module")
def talker(server: RunningServer) -> Iterator[Talker]:
    talker = Talker(server)
    yield talker
    talker.close()


def smallest_body(operation):
    """What must be there, and few tokens."""
    few = {"max_tokens": 2} if "max_tokens" in body_of(operation)["properties"] else {}
    return {**needed_by(operation), **few}


def numbers_of(schema) -> Iterator[tuple[str, dict]]:
    """The members that are numbers, alone or as one of several forms, with their bounds."""
    for name, each in schema["properties"].items():
        for form in each.get("anyOf", [each]):
            if resolved(form).get("type") in ("integer", "number"):
                yield name, form


NUMBERS = [(operation, *found) for operation in WITH_BODY for found in numbers_of(body_of(operation))]


@pytest.mark.parametrize(
    "operation, name, bounds", NUMBERS, ids=[f"{each[0].path}-{each[1]}" for each in NUMBERS]
)
def test_every_number_has_bounds_and_keeps_them(talker, operation, name, bounds):
    low = bounds.get("minimum", bounds.get("exclusiveMinimum"))
    high = bounds.get("maximum", bounds.get("exclusiveMaximum"))
    assert low is not None and high is not None, f"{name} has no bounds"
    beyond = [low - 1, high + 1, -(2**63) - 1, 2**63, 10**26, "1e999", "NaN", '"1"', "true", "[1]"]
    beyond += [end for kind, end in bounds.items() if kind.startswith("exclusive")]
    beyond += ["1.5"] if bounds["type"] == "integer" else []
    for literal in beyond:
        members = {key: value for key, value in smallest_body(operation).items() if key != name}
        body = f'{json.dumps(members)[:-1]}, "{name}": {literal}}}'.encode()
        status, answer = talker.post(operation.path, body)
        assert status == 400 and not INSIDE.search(answer), (literal, status, answer)
        assert name in answer.decode() or literal in ("1e999", "NaN"), (literal, answer)
    assert talker.ask_fixed() == talker.fixed


LINKS = [
    "http://127.0.0.1:{port}/x.png",
    "http://localhost:{port}/x.png",
    "http://0:{port}/x.png",
    "http://2130706433:{port}/x.png",
    "http://[::ffff:127.0.0.1]:{port}/x.png",
    "http://example.com\\@127.0.0.1:{port}/x.png",
    "http://example.com@127.0.0.1:{port}/x.png",
    "//127.0.0.1:{port}/x.png",
    "file:///etc/passwd",
    "data:image/png;base64,iVBORw0KGgo=",
    "gopher://127.0.0.1:{port}/_x",
]


def parts_with(link) -> Iterator[tuple[str, dict]]:
    """Bodies that ask a server to follow `link`, in the words of each API."""
    image = {"type": "image_url", "image_url": {"url": link}}
    chat = "/v1/chat/completions"
    for part in (
        image,
        {"type": "image_url", "image_url": link},
        {"type": "input_audio", "input_audio": {"data": link, "format": "wav"}},
        {"type": "video_url", "video_url": {"url": link}},
        {"type": "file", "file": {"file_data": link}},
    ):
        yield chat, {"messages": [{"role": "user", "content": [part]}]}
        yield "/tokenize", {"messages": [{"role": "user", "content": [part]}]}
        yield "/apply-template", {"messages": [{"role": "user", "content": [part]}]}
    yield from messages_with(link)
    yield from responses_with(link)
    yield "/v1/embeddings", {"input": [image]}
    yield "/v1/score", {"text_1": "x", "text_2": {"content": [image]}}
    yield "/rerank", {"query": "x", "documents": [{"image": link}]}
    yield chat, {"messages": MESSAGES, "documents": [{"url": link}]}
    yield chat, {"messages": MESSAGES, "guided_json": {"$ref": link}}


def messages_with(link) -> Iterator[tuple[str, dict]]:
    """Those of the Messages API."""
    source = {"type": "image", "source": {"type": "url", "url": link}}
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [source]}
    answered = [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    for body in (
        {"messages": [{"role": "user", "content": [source]}]},
        {"messages": [*MESSAGES, *answered]},
        {"messages": MESSAGES, "system": [source]},
        {"messages": MESSAGES, "mcp_servers": [{"type": "url", "url": link, "name": "x"}]},
        {"messages": MESSAGES, "tools": [{"type": "web_fetch_20250910", "name": "web_fetch"}]},
    ):
        yield "/v1/messages", {**body, "max_tokens": 1}
        yield "/v1/messages/count_tokens", body


def responses_with(link) -> Iterator[tuple[str, dict]]:
    """Those of the Responses API."""
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    for kind in ("input_image", "input_file"):
        part = {"type": kind, "image_url": link, "file_url": link}
        result = {"type": "function_call_output", "call_id": "c", "output": [part]}
        for items in ([{"role": "user", "content": [part]}], [call, result]):
            yield "/v1/responses", {"input": items}
            yield "/v1/responses/input_tokens", {"input": items}
    for tool in ({"type": "mcp", "server_label": "x", "server_url": link}, {"type": "web_search"}):
        yield "/v1/responses", {"input": "x", "tools": [tool]}


def test_no_link_in_a_request_is_followed(server):
    followed = []
    with socket.create_server(("127.0.0.1", 0)) as trap:
        port = trap.getsockname()[1]

        def catch():
            with suppress(OSError):
                while True:
                    trap.accept()[0].close()
                    followed.append(1)

        threading.Thread(target=catch, daemon=True).start()
        for link in LINKS:
            for path, body in parts_with(link.format(port=port)):
                status, _, answer = server.post(path, {"model": "fake-model", **body})
                in_the_engine = {"guided_json", "documents"} & body.keys()  # which this server has not
                assert status == 400 or in_the_engine, (path, body, answer)
        with socket.create_connection(("127.0.0.1", port)):
            pass  # the trap works
        eventually(lambda: followed, "the trap saw its own caller")
        trap.shutdown(socket.SHUT_RDWR)
    assert len(followed) == 1


SECRET = "Secret of another request at 0x7f1234567890 in /root/redline/engine.py"


class Talkative(FakeEngine):
    """Fails at one place, with words that are nobody's business."""

    def __init__(self, place):
        super().__init__()
        self.place = place

    def _fail(self, place):
        if place == self.place:
            raise RuntimeError(SECRET)

    def encode_prompt(self, prompt):
        self._fail("encode")
        return super().encode_prompt(prompt)

    def tokenize_chat(self, messages, tools=None, **options):
        self._fail("tokenize")
        return super().tokenize_chat(messages, tools, **options)

    async def stream(self, *args, **options):
        self._fail("stream")
        async for delta in super().stream(*args, **options):
            yield delta
            self._fail("delta")


BODIES = {
    "/v1/chat/completions": {"messages": MESSAGES, "max_tokens": 3},
    "/v1/completions": {"prompt": "x", "max_tokens": 3},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": 3},
    "/v1/messages/count_tokens": {"messages": MESSAGES},
    "/v1/responses": {"input": "x", "max_output_tokens": 3},
    "/v1/embeddings": {"input": "x"},
    "/v1/responses/input_tokens": {"input": "x"},
    "/v1/score": {"text_1": "x", "text_2": "y"},
    "/rerank": {"query": "x", "documents": ["y"]},
    "/tokenize": {"messages": MESSAGES},
    "/apply-template": {"messages": MESSAGES},
}


@pytest.mark.parametrize("place", ["encode", "tokenize", "stream", "delta"])
def test_a_failure_of_the_inside_says_nothing_of_it(place):
    with RunningServer(Talkative(place)) as server:
        failed = 0
        for path, body in BODIES.items():
            for stream in ({}, {"stream": True}):
                status, headers, answer = server.post(path, {"model": "fake-model", **body, **stream})
                assert not INSIDE.search(answer) and not INSIDE.search(str(headers).encode())
                failed += status == 500 or b'"internal_error"' in answer or b'"api_error"' in answer
        assert failed >= 4
        server.engine.place = None
        assert server.post("/v1/completions", {"model": "fake-model", **BODIES["/v1/completions"]})[0] == 200


def lines_of(function) -> int:
    """Lines of Python that run."""
    count = 0

    def trace(frame, event, arg):
        nonlocal count
        count += event == "line"
        return trace

    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(None)
    return count


def calls(size):
    call = {"type": "function", "function": {"name": "f", "arguments": '{"a": [1]}'}}
    made = [{**call, "id": str(place)} for place in range(min(size, 100))]
    results = [{"role": "tool", "tool_call_id": str(place % 100), "content": "x"} for place in range(size)]
    return {"messages": [*MESSAGES, {"role": "assistant", "tool_calls": made}, *results]}


def blocks(size):
    uses = [{"type": "tool_use", "id": str(place), "name": "f", "input": {}} for place in range(size)]
    results = [{"type": "tool_result", "tool_use_id": str(place), "content": "x"} for place in range(size)]
    spoken = [{"role": "assistant", "content": uses}, {"role": "user", "content": results}]
    return {"max_tokens": 1, "messages": [*MESSAGES, *spoken]}


GROWING = {
    "messages": (ChatRequest, lambda size: {"messages": MESSAGES * size}),
    "parts": (
        ChatRequest,
        lambda size: {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}] * size}]},
    ),
    "results of calls": (ChatRequest, calls),
    "unknown names": (ChatRequest, lambda size: {"messages": MESSAGES, **{f"x{n}": 1 for n in range(size)}}),
    "stop": (CompletionRequest, lambda size: {"prompt": "x", "stop": ["s"] * size}),
    "logit_bias": (
        CompletionRequest,
        lambda size: {"prompt": "x", "logit_bias": {str(n): 1 for n in range(size)}},
    ),
    "prompts": (CompletionRequest, lambda size: {"prompt": ["x"] * size}),
    "inputs": (EmbeddingRequest, lambda size: {"input": ["x"] * size}),
    "items": (ResponsesRequest, lambda size: {"input": [{"role": "user", "content": "x"}] * size}),
    "calls as items": (
        ResponsesRequest,
        lambda size: {
            "input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}] * size
        },
    ),
    "pairs": (ScoreRequest, lambda size: {"queries": ["x"] * size, "documents": ["y"] * size}),
    "documents": (RerankRequest, lambda size: {"query": "x", "documents": [{"text": "y"}] * size}),
    "results of tools": (MessagesRequest, blocks),
    "turns": (MessagesRequest, lambda size: {"max_tokens": 1, "messages": MESSAGES * size}),
    "tokens": (DetokenizeRequest, lambda size: {"tokens": [1] * size}),
}


@pytest.mark.parametrize("kind, body", GROWING.values(), ids=GROWING)
def test_twice_the_body_takes_twice_the_work(kind, body):
    def work(size):
        members = {"model": "m", **body(size)}
        kind.parse(members)  # the first time builds what is kept
        request = kind.parse(members)
        kind.unknown_names(members)
        for message in getattr(request, "messages", []):
            if hasattr(message, "for_template"):
                message.for_template()

    once, twice = (lines_of(lambda size=size: work(size)) for size in (500, 1000))
    assert twice <= 2.2 * once + 200


def test_names_that_nobody_defines_fill_neither_memory_nor_log(own_server, caplog):
    members = {"model": "fake-model", "prompt": "x", "max_tokens": 1}
    for start in range(0, 5000, 250):
        more = {f"private_{number}": 1 for number in range(start, start + 250)}
        assert own_server.post("/v1/completions", {**members, **more})[0] == 200
    said = [record for record in caplog.records if "is not known here" in record.message]
    assert len(said) == MAX_NAMES


@pytest.mark.parametrize(
    "media_type", ["multipart/form-data; boundary=x", "application/x-www-form-urlencoded"]
)
def test_forms_are_not_read(server, media_type):
    content = b"--x\r\n" + b"a" * 5000
    for operation in WITH_BODY:
        assert server.raw(post_bytes(operation.path, content, content_type=media_type))[0] == 415
