"""Hostility against the real engine: neighbours, floods, slow grammars, and an engine that dies."""

import json
import os
import random
import resource
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from redline.server.config import ServerConfig
from redline.server.listening import listening_socket
from tests.model_file import smollm2
from tests.server.running_server import RunningServer, eventually, post_bytes, read_response
from tests.server.test_lifecycle import error_of
from tests.server.test_real_operations import opened

pytestmark = pytest.mark.model

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
PROMPT = "one two three four one two three four one two"
VICTIMS = [
    {"model": "m", "prompt": PROMPT, "max_tokens": 24, "seed": 11, "logprobs": 3},
    {"model": "m", "prompt": PROMPT, "max_tokens": 24, "temperature": 0, "n": 2},
    {"model": "m", "prompt": "A list:", "max_tokens": 24, "seed": 12, "regex": "[a-z, ]{30}"},
]
HOSTILE = [
    {"prompt": PROMPT, "logit_bias": {str(token): 100 for token in range(1000)}},
    {"prompt": PROMPT, "logit_bias": {str(token): -100 for token in range(1000)}, "n": 4},
    {"prompt": PROMPT, "bad_words": ["one", " two", "three", "e"], "repetition_penalty": 100},
    {"prompt": PROMPT, "allowed_token_ids": [0, 49151], "temperature": 2},
    {"prompt": PROMPT, "presence_penalty": 2, "frequency_penalty": 2, "min_p": 1},
    {"prompt": PROMPT, "seed": 2**63 - 1, "n": 8, "top_p": 0},
    {"prompt": [PROMPT] * 8, "stop": ["e", "o", "t"], "min_tokens": 20},
    {"prompt": PROMPT, "use_beam_search": True, "best_of": 4, "n": 2},
    {"prompt": PROMPT, "regex": "(one|two|three){9}", "cache_salt": "x"},
    {"prompt": PROMPT, "prompt_logprobs": 20, "dry_multiplier": 100},
    {"prompt": [49152]},
    {"prompt": PROMPT, "allowed_token_ids": [49152]},
    {"prompt": PROMPT, "guided_json": {"$ref": "#"}},
]


@pytest.fixture(scope="module")
def server():
    with (
        opened(max_batch=8, speculative="ngram") as engine,
        RunningServer(engine, aliases=("m",), step_timeout_s=None) as server,
    ):
        yield server


def idle(server):
    stats = server.engine.stats()
    return (stats.running, stats.waiting, stats.kv_usage, stats.requests.in_flight) == (0, 0, 0, 0)


def words(answer):
    status, _, body = answer
    assert status == 200, body
    return json.loads(body)["choices"]


def hang_up(server, body, rng):
    """Ask under an id that others use too, and leave at some time."""
    content = json.dumps({"model": "m", "max_tokens": 60, "stream": rng.random() < 0.5, **body}).encode()
    with server.connect() as connection, suppress(OSError):
        connection.sendall(post_bytes(COMPLETIONS, content, x_request_id="same"))
        connection.settimeout(rng.choice([0.001, 0.02, 0.1]))
        connection.recv(1000)


def test_neighbours_of_every_kind_change_no_bit_of_an_answer(server):
    """With speculation and prefix reuse on, beside extremes of every parameter and clients that leave."""
    alone = [words(server.post(COMPLETIONS, victim)) for victim in VICTIMS]
    rng = random.Random(5)
    with ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(server.post, COMPLETIONS, victim) for victim in VICTIMS]
        for body in HOSTILE:
            pool.submit(server.post, COMPLETIONS, {"model": "m", "max_tokens": 24, **body})
            pool.submit(hang_up, server, body, rng)
        assert [words(answer.result()) for answer in asked] == alone
    eventually(lambda: idle(server), "everything is freed")
    assert [words(server.post(COMPLETIONS, victim)) for victim in VICTIMS] == alone
    server.engine._engine.scheduler.check_integrity()


def test_who_compiles_for_long_keeps_nobody_else_waiting(server, monkeypatch):
    """A grammar that takes forever holds up neither answers, nor refusals, nor health."""
    structured = server.engine._engine.structured
    compile_, release, compiling = structured.constraint, threading.Event(), threading.Event()

    def slow(params):
        compiling.set()
        assert release.wait(30)
        return compile_(params)

    monkeypatch.setattr(structured, "constraint", slow)
    with ThreadPoolExecutor(1) as pool:
        body = {"model": "m", "prompt": "x", "max_tokens": 4, "regex": "[a-z]{4}"}
        waits = pool.submit(server.post, COMPLETIONS, body)
        assert compiling.wait(20)
        assert server.get("/health")[0] == 200
        assert words(server.post(COMPLETIONS, {"model": "m", "prompt": "x", "max_tokens": 4}))
        assert server.post(COMPLETIONS, {"model": "m", "prompt": ""})[0] == 400
        assert server.post("/tokenize", {"prompt": "x"})[0] == 200
        assert not waits.done()
        release.set()
        assert words(waits.result())


SCHEMAS = {
    "remote reference": {"$ref": "http://127.0.0.1:1/schema.json"},
    "nesting": json.loads('{"items":' * 120 + "{}" + "}" * 120),
    "enum": {"enum": [f"value {number}" for number in range(10_000)]},
    "no end": {"type": "array", "minItems": 10**9},
    "recursion": {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}},
    "pattern": {"type": "string", "pattern": "(a+)+" * 100 + "b"},
    "backtracking": {"type": "string", "pattern": "^(a+)+b$"},
    "empty": {},
    "no type": {"type": "unicorn"},
    "unknown keyword": {"type": "string", "unicorn": True},
    "types": {"type": ["string", "null", "integer"], "minLength": 10**12},
    "nonsense": {"properties": [1, 2], "required": "x"},
}


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_no_schema_harms_anybody_under_any_name(server, schema):
    fixed = {"model": "m", "prompt": "x", "max_tokens": 4, "temperature": 0}
    alone = words(server.post(COMPLETIONS, fixed))
    tool = {"type": "function", "function": {"name": "f", "parameters": {**schema, "type": "object"}}}
    messages = {"messages": [{"role": "user", "content": "x"}]}
    named = {"json_schema": {"name": "x", "schema": schema}, "type": "json_schema"}
    with ThreadPoolExecutor(5) as pool:
        beside = pool.submit(server.post, COMPLETIONS, fixed)
        asked = [
            pool.submit(server.post, CHAT, {"model": "m", "max_tokens": 4, **messages, **form})
            for form in (
                {"response_format": named},
                {"structured_outputs": {"json": schema}},
                {"guided_json": json.dumps(schema)},
                {"tools": [tool], "tool_choice": "required"},
            )
        ]
        for answer in asked:
            status, _, body = answer.result()
            assert status in (200, 400) and len(body) < 5000, body
            if status == 400:
                assert json.loads(body)["error"]["param"].partition(".")[0] in {
                    "response_format",
                    "structured_outputs",
                    "guided_json",
                    "tools",
                    "tool_choice",
                }, body
        assert words(beside.result()) == alone
    eventually(lambda: idle(server), "everything is freed")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("fault", [RuntimeError("secret"), MemoryError("secret"), SystemExit("secret")])
def test_when_the_engine_dies_everybody_is_told_and_the_server_says_so(fault, caplog):
    """The fault is raised in the engine's own thread, in the middle of what runs and waits."""
    with opened(max_batch=2) as engine, RunningServer(engine, aliases=("m",)) as server:
        body = {"model": "m", "prompt": "x", "max_tokens": 400, "ignore_eos": True}
        with ExitStack() as stack, ThreadPoolExecutor(3) as pool:
            stream = stack.enter_context(server.connect())
            stream.sendall(post_bytes(COMPLETIONS, json.dumps({**body, "stream": True}).encode()))
            whole = [pool.submit(server.post, COMPLETIONS, body) for _ in range(3)]
            eventually(
                lambda: (engine.stats().running, engine.stats().waiting) == (2, 2), "two run, two wait"
            )
            assert stream.recv(1)

            def step():
                raise fault

            engine._engine.step = step
            for answer in whole:
                assert error_of(answer.result()) == (503, "engine_dead")
            received = b""
            while data := stream.recv(65536):
                received += data
            assert b'"code":"engine_dead"' in received and b"[DONE]" not in received
            assert b"secret" not in received
        for path in ("/health", "/ping"):
            assert server.get(path)[0] == 503
        assert error_of(server.get("/health")) == (503, "engine_dead")
        assert error_of(server.post(CHAT, {"model": "m"})) == (503, "engine_dead")
        assert b"redline:ready{model_name" in server.get("/metrics")[2]


@contextmanager
def small_process(*, descriptors):
    """`redline serve` that may open only so many files."""
    with listening_socket(ServerConfig(port=0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "redline.cli.main", "serve", "--model", str(smollm2())]
    command += ["--port", str(port), "--max-context", "128", "--kv-memory", "32MiB"]

    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=limit
    ) as child:
        try:
            assert child.stdout.readline().startswith("Redline listens on")
            server = RunningServer()
            server._announce(f"http://127.0.0.1:{port}")
            yield child, server
        finally:
            child.kill()


def sockets_of(pid):
    """What its sockets are: (protocol, local address, state) as /proc has them."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            name = os.readlink(link)
            inodes |= {name[8:-1]} if name.startswith("socket:") else set()
    for protocol in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{pid}/net/{protocol}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in inodes:
                yield protocol, fields[1], fields[3]
    for line in Path(f"/proc/{pid}/net/unix").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[6] in inodes and len(fields) > 7:
            yield "unix", fields[7], fields[3]


@pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="needs Linux")
def test_one_port_is_open_and_a_flood_of_idle_connections_passes():
    with small_process(descriptors=256) as (child, server):
        assert list(sockets_of(child.pid)) == [("tcp", f"0100007F:{server.port:04X}", "0A")]  # listening
        with ExitStack() as stack:
            idle = [
                stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=20))
                for _ in range(600)
            ]
            idle[0].sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert read_response(idle[0])[0] == 200  # those that got in are served
            assert error_of(read_response(idle[-1])) == (503, "service_unavailable")  # the others are told
        eventually(lambda: server.get("/health")[0] == 200, "it takes connections again")
        body = {"model": str(smollm2()), "prompt": "x", "max_tokens": 2}
        assert words(server.post(COMPLETIONS, body))
        assert child.poll() is None
        child.kill()
        assert "accept" not in child.stderr.read()
