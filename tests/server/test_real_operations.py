"""Operations on the real engine: clients that leave, keys that share nothing, steps that hang, signals."""

import asyncio
import json
import random
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from redline.async_llm import AsyncLLM
from redline.server.config import ServerConfig
from redline.server.listening import listening_socket
from tests.model_file import smollm2
from tests.server.running_server import RunningServer, eventually, post_bytes, read_response
from tests.server.test_lifecycle import error_of

pytestmark = pytest.mark.model

PATH = "/v1/completions"
ALICE, BOB = "sk-alice-123", "sk-bob-45678"
KEYED = {"authorization": f"Bearer {ALICE}"}


@contextmanager
def opened(**options) -> Iterator[AsyncLLM]:
    engine = AsyncLLM(str(smollm2()), max_context=512, kv_memory="64MiB", **options)
    try:
        yield engine
    finally:
        asyncio.run(engine.close())


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with (
        opened(max_batch=2) as engine,
        RunningServer(engine, aliases=("m",), api_keys=(ALICE, BOB), step_timeout_s=1.0) as server,
    ):
        yield server


def body(prompt="A story about a river:", **fields):
    return {"model": "m", "prompt": prompt, "max_tokens": 400, "ignore_eos": True, "temperature": 0, **fields}


def send(server, **fields):
    connection = server.connect()
    connection.sendall(post_bytes(PATH, json.dumps(body(**fields)).encode(), **KEYED))
    return connection


def assert_conserved(server):
    """Nothing runs, nothing is held, and every request that came has ended once."""
    eventually(lambda: server.engine.stats().requests.in_flight == 0, "all requests ended")
    stats = server.engine.stats()
    stats.requests.check()
    assert (stats.running, stats.waiting, stats.kv_usage) == (0, 0, 0)
    server.engine._engine.scheduler.check_integrity()


class Aborts:
    """Counts the steps that end between a client's leaving, as the server says it, and the abort."""

    def __init__(self, llm, monkeypatch):
        self.steps = []
        engine, asked = llm._engine, {}

        def forget(request_id):
            if request_id in engine._requests:
                self.steps.append(engine.num_steps - asked.pop(request_id))
            original_forget(request_id)

        def end(running, reason):
            asked.update(dict.fromkeys(engine._requests, engine.num_steps))
            original_end(running, reason)

        from redline.server.running import Running

        original_forget, original_end = llm._forget, Running.end
        monkeypatch.setattr(llm, "_forget", forget)
        monkeypatch.setattr(Running, "end", end)


@pytest.mark.parametrize(
    "fields", [{}, {"stream": True}, {"n": 3}, {"prompt": ["a", "b", "c"], "stream": True}]
)
def test_a_client_that_leaves_is_aborted_within_a_step(server, monkeypatch, fields):
    aborts = Aborts(server.engine, monkeypatch)
    before = server.engine.stats()
    connection = send(server, **fields)
    eventually(lambda: server.engine.stats().generation_tokens > before.generation_tokens + 3, "it runs")
    connection.close()
    eventually(lambda: aborts.steps, "it is aborted")
    assert_conserved(server)
    # The step that runs when the client leaves, and one that may begin before the word gets there.
    assert max(aborts.steps) <= 2
    after = server.engine.stats().requests
    assert after.aborted - before.requests.aborted == len(aborts.steps)


def test_a_client_that_leaves_the_queue_is_never_served(server):
    running = [send(server, stream=True) for _ in range(2)]
    eventually(lambda: server.engine.stats().running == 2, "two run")
    queued = send(server, prompt="z " * 100)
    eventually(lambda: server.engine.stats().waiting == 1, "one waits")
    queued.close()
    eventually(lambda: server.engine.stats().waiting == 0, "it is gone")
    stats = server.engine.stats()
    assert stats.running == 2 and stats.requests.in_flight == 2
    for connection in running:
        connection.close()
    assert_conserved(server)


def test_random_disconnects_leak_nothing_and_change_no_answer(server):
    rng = random.Random(3)
    fixed = json.dumps(body(max_tokens=8)).encode()
    alone = json.loads(server.raw(post_bytes(PATH, fixed, **KEYED))[2])["choices"]
    for _ in range(60):
        connection = send(server, stream=rng.random() < 0.5, n=rng.choice([1, 3]), max_tokens=40)
        connection.settimeout(rng.choice([0.0001, 0.01, 0.05]))
        with suppress(TimeoutError):
            connection.recv(rng.choice([1, 5000]))
        connection.close()
    assert_conserved(server)
    assert json.loads(server.raw(post_bytes(PATH, fixed, **KEYED))[2])["choices"] == alone
    assert len(server.server._running) == 0


def cached(server, key, prompt, **fields):
    content = json.dumps(body(prompt, max_tokens=1, **fields)).encode()
    status, _, answer = server.raw(post_bytes(PATH, content, x_api_key=key))
    assert status == 200, answer
    return json.loads(answer)["usage"]["prompt_tokens_details"]["cached_tokens"]


def test_keys_find_only_their_own_prompts_in_the_cache(server):
    prompt = "The quick brown fox jumps over the lazy dog. " * 6
    assert cached(server, ALICE, prompt) == 0
    assert cached(server, ALICE, prompt) > 0
    for salt in (None, "api-key-1", "api-key-1/", "/"):
        assert cached(server, BOB, prompt, cache_salt=salt) == 0
    assert cached(server, BOB, prompt) > 0


def test_a_step_that_hangs_fails_health_and_one_that_ends_repairs_it(server, monkeypatch):
    hang, hanging = threading.Event(), threading.Event()
    step = server.engine._engine.step

    def slow_step():
        hanging.set()
        assert hang.wait(20)
        return step()

    eventually(lambda: server.engine.stalled_s == 0, "it is idle, for as long as it likes")
    monkeypatch.setattr(server.engine._engine, "step", slow_step)
    with send(server, max_tokens=2) as connection:
        assert hanging.wait(20)
        assert server.get("/health")[0] == 200  # a step may take its time
        eventually(lambda: server.get("/health")[0] == 503, "the watchdog sees it")
        assert error_of(server.get("/health")) == (503, "engine_stuck")
        assert error_of(server.post(PATH, body(), **KEYED)) == (503, "engine_stuck")
        hang.set()
        assert read_response(connection)[0] == 200
    assert server.get("/health")[0] == 200
    assert_conserved(server)


def test_an_engine_that_turns_without_ending_a_step_is_stuck_too(server, monkeypatch):
    """Work, and a plan that is always empty: alive, and no use to anybody."""
    with monkeypatch.context() as patched:
        patched.setattr(server.engine._engine, "step", lambda: [])
        connection = send(server, max_tokens=2)
        eventually(lambda: server.get("/health")[0] == 503, "the watchdog sees it")
    with connection:
        assert read_response(connection)[0] == 200
    assert server.get("/health")[0] == 200
    assert_conserved(server)


def test_a_batch_that_waits_to_fill_is_not_stuck():
    with (
        opened(batching="static", batch_window=1.0, max_batch=8) as engine,
        RunningServer(engine, aliases=("m",), step_timeout_s=0.4) as server,
        send(server, max_tokens=2) as connection,
    ):
        eventually(lambda: engine.stats().waiting == 1, "it waits for company")
        while engine.stats().waiting:
            assert server.get("/health")[0] == 200
        assert read_response(connection)[0] == 200


@contextmanager
def process(*options):
    """`redline serve` on a port of its own, and a RunningServer that talks to it."""
    with listening_socket(ServerConfig(port=0)) as free:
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "redline.cli.main",
        "serve",
        "--model",
        str(smollm2()),
        "--port",
        str(port),
    ]
    with subprocess.Popen(
        [*command, "--max-context", "512", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            server = RunningServer()
            server._announce(f"http://127.0.0.1:{port}")
            yield child, server
        finally:
            child.kill()


def test_serve_reads_keys_again_logs_json_and_ends_by_the_second_signal(tmp_path):
    keys = tmp_path / "keys"
    keys.touch(mode=0o600)
    keys.write_text(f"{ALICE} name=alice\n")
    with process("--api-keys-file", str(keys), "--log-json", "--kv-memory", "64MiB") as (child, server):
        assert re.match(r"Redline listens on http://127.0.0.1:\d+ ", child.stdout.readline())
        assert error_of(server.get("/v1/models")) == (401, "invalid_api_key")
        keys.write_text(f"{BOB} name=bob\n")
        child.send_signal(signal.SIGHUP)
        headers = {"x_api_key": BOB}
        eventually(lambda: server.post(PATH, body(max_tokens=1), **headers)[0] != 401, "the new key is known")
        content = json.dumps(body(model=str(smollm2()), stream=True)).encode()
        with server.connect() as connection:
            connection.sendall(post_bytes(PATH, content, **headers))
            assert connection.recv(1)
            child.send_signal(signal.SIGTERM)
            eventually(lambda: server.get("/health")[0] == 503, "not ready")
            child.send_signal(signal.SIGTERM)
            received = b""
            while data := connection.recv(65536):
                received += data
        assert b'"code":"shutting_down"' in received
        assert child.wait(20) == -signal.SIGTERM
        log = child.stderr.read()
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert {(line["path"], line["status"], line["key"]) for line in lines if "path" in line} >= {
        ("/v1/models", 401, "-"),
        (PATH, 200, "bob"),
        ("/health", 503, "-"),
    }
    assert ALICE not in log and BOB not in log and "river" not in log
