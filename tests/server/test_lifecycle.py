"""Clients that leave, queues that fill, engines that die, servers that stop."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from redline.errors import CapacityError, QueueFull
from redline.server.running import RunningRequests, Stopping
from tests.server.fake_engine import FakeEngine
from tests.server.running_server import RunningServer, eventually, post_bytes, read_response

PATHS = ["/v1/chat/completions", "/v1/completions"]


def request(**fields):
    messages = [{"role": "user", "content": "x"}]
    return {"model": "fake-model", "messages": messages, "prompt": "x", "max_tokens": 400, **fields}


def send(server, path, **fields):
    connection = server.connect()
    connection.sendall(post_bytes(path, json.dumps(request(**fields)).encode()))
    return connection


def error_of(answer):
    status, _, body = answer
    return status, json.loads(body)["error"]["code"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("n", [1, 3])
def test_a_client_that_leaves_ends_its_request(path, stream, n):
    engine = FakeEngine(step_s=0.02)
    with RunningServer(engine) as server:
        connection = send(server, path, stream=stream, n=n)
        eventually(lambda: any(steps >= 2 for steps in engine.running.values()), "request runs")
        (request_id,) = engine.running
        steps = engine.running[request_id]
        connection.close()
        eventually(lambda: engine.aborted, "request aborted")
        assert engine.running == {} and engine.aborted[request_id] <= steps + 3 < 400
        eventually(lambda: len(server.server._running) == 0, "request forgotten")
        told = server.get("/metrics")[2]
        assert b'vllm:http_requests_client_disconnected_total{model_name="fake-model"} 1.0' in told
        aborted = f'vllm:request_success_total{{finished_reason="abort",model_name="fake-model"}} {n}.0'
        assert aborted.encode() in told


def test_a_client_that_leaves_before_the_first_token_ends_its_request(own_server):
    engine = own_server.engine
    engine.held = True
    for stream in (False, True):
        connection = send(own_server, PATHS[0], stream=stream)
        eventually(lambda: engine.running, "request runs")
        connection.close()
        eventually(lambda: not engine.running, "request aborted")
    assert len(engine.aborted) == 2 and engine.finished == []


def test_a_client_that_leaves_the_queue_frees_its_place():
    engine = FakeEngine(step_s=0.001, capacity=1)
    engine.held = True
    with RunningServer(engine, max_waiting=2) as server:
        running, queued = send(server, PATHS[0]), send(server, PATHS[0])
        eventually(lambda: len(engine.waiting) == 1, "request waits")
        assert error_of(server.post(PATHS[0], request())) == (429, "queue_full")
        queued.close()
        eventually(lambda: not engine.waiting, "place freed")
        running.close()
        eventually(lambda: not engine.running, "request aborted")
        engine.held = False
        assert server.post(PATHS[0], request(max_tokens=1))[0] == 200


def test_all_prompts_of_a_client_that_leaves_are_aborted():
    engine = FakeEngine(step_s=0.01, capacity=2)
    with RunningServer(engine) as server:
        connection = send(server, PATHS[1], prompt=["a", "b", "c", "d"], stream=True)
        eventually(lambda: len(engine.running) == 2 and len(engine.waiting) == 2, "two run, two wait")
        connection.close()
        eventually(lambda: len(engine.aborted) == 4, "all aborted")
        assert engine.running == {} and engine.waiting == []


def test_the_role_chunk_comes_with_the_first_token(own_server):
    own_server.engine.held = True
    with send(own_server, PATHS[0], stream=True, max_tokens=2) as connection:
        eventually(lambda: own_server.engine.running, "request runs")
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        own_server.engine.held = False
        connection.settimeout(20)
        status, _, body = read_response(connection)
    assert status == 200 and body.startswith(b"data: ") and b'"role":"assistant"' in body.split(b"\n\n")[0]


def test_a_full_queue_is_429_with_retry_after_and_empties():
    engine = FakeEngine()
    engine.held = True
    with RunningServer(engine, max_waiting=3) as server, ThreadPoolExecutor(3) as pool:
        accepted = [pool.submit(server.post, PATHS[0], request(max_tokens=1)) for _ in range(3)]
        eventually(lambda: len(engine.running) == 3, "three accepted")
        for stream in (False, True):
            status, headers, body = server.post(PATHS[0], request(stream=stream))
            error = json.loads(body)["error"]
            assert (status, error["type"], error["code"]) == (429, "rate_limit_error", "queue_full")
            assert int(headers["retry-after"]) >= 1
        head = post_bytes(PATHS[0], b"", content_length="1000000")
        assert error_of(server.raw(head)) == (429, "queue_full")  # the body is not waited for
        assert server.get("/health")[0] == 200
        engine.held = False
        assert [future.result()[0] for future in accepted] == [200] * 3
        assert server.post(PATHS[0], request(max_tokens=1))[0] == 200


def test_running_requests_do_not_count_as_waiting():
    engine = FakeEngine(step_s=0.001)
    with RunningServer(engine, max_waiting=1) as server:
        connections = []
        for _ in range(3):
            connections.append(send(server, PATHS[0], stream=True))
            assert connections[-1].recv(1)  # it has its first token
        assert len(engine.running) == 3
        for connection in connections:
            connection.close()


def test_an_empty_queue_takes_a_list_longer_than_itself():
    with RunningServer(max_waiting=2) as server:
        assert server.post(PATHS[1], request(prompt=["a"] * 10, max_tokens=1))[0] == 200


@pytest.mark.parametrize(
    "error, expected",
    [
        (QueueFull("full"), (429, "queue_full")),
        (CapacityError("can never fit"), (400, "capacity_exceeded")),
        (ValueError("/secret/path 0x7f00"), (500, "internal_error")),
    ],
)
def test_errors_of_the_engine_have_a_status(own_server, error, expected):
    own_server.engine.bug = error
    for path in PATHS:
        for stream in (False, True):
            answer = own_server.post(path, request(stream=stream))
            assert error_of(answer) == expected and b"secret" not in answer[2]
    own_server.engine.bug = None
    assert own_server.post(PATHS[0], request(max_tokens=1))[0] == 200


def test_a_failure_in_mid_stream_is_an_event_without_done(own_server):
    engine = own_server.engine
    engine.step_s = 0.01
    with send(own_server, PATHS[0], stream=True) as connection:
        eventually(lambda: any(steps >= 2 for steps in engine.running.values()), "request runs")
        engine.bug = ValueError("/secret/path")
        status, _, body = read_response(connection)
    assert status == 200 and b"[DONE]" not in body and b"secret" not in body
    last = body.decode().removesuffix("\n\n").split("\n\n")[-1]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "internal_error"
    assert engine.running == {}


def test_a_dead_engine_is_503_everywhere(own_server):
    engine = own_server.engine
    engine.step_s = 0.01
    with send(own_server, PATHS[0]) as whole, send(own_server, PATHS[1], stream=True) as stream:
        eventually(lambda: len(engine.running) == 2 and min(engine.running.values()) >= 2, "both run")
        engine.die()
        assert error_of(read_response(whole)) == (503, "engine_dead")
        assert b'"code":"engine_dead"' in read_response(stream)[2]
    for answer in (own_server.post(PATHS[0], request()), own_server.get("/health")):
        assert error_of(answer) == (503, "engine_dead") and "retry-after" in answer[1]
        assert b"0x7fff" not in answer[2]
    assert len(engine.seen) == 2  # a dead engine is not asked
    assert own_server.get("/v1/models")[0] == 200


def test_stopping_finishes_what_runs_and_accepts_nothing_new():
    engine = FakeEngine()
    engine.held = True
    server = RunningServer(engine)
    with server, send(server, PATHS[0], max_tokens=40) as connection:
        eventually(lambda: engine.running, "request runs")
        assert server.get("/health")[0] == 200
        server.stop()
        eventually(lambda: server.get("/health")[0] == 503, "not ready")
        for answer in (server.get("/health"), server.post(PATHS[0], request()), server.post(PATHS[1], b"{")):
            assert error_of(answer) == (503, "shutting_down") and int(answer[1]["retry-after"]) >= 1
        kept_alive = server.raw(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert kept_alive[1]["connection"] == "close"  # the next connection may lead to another server
        for _ in range(5):  # and goes on saying so for as long as it drains
            time.sleep(0.1)
            assert error_of(server.get("/health")) == (503, "shutting_down")
        assert len(engine.seen) == 1 and engine.running
        engine.held = False
        status, headers, body = read_response(connection)
        assert status == 200 and json.loads(body)["usage"]["completion_tokens"] == 40
        server.join()
    assert engine.aborted == {} and not _accepts(server)


def test_a_body_that_comes_after_the_stop_is_too_late():
    engine = FakeEngine()
    engine.held = True
    content = json.dumps(request()).encode()
    with RunningServer(engine) as server, send(server, PATHS[0]), server.connect() as late:
        eventually(lambda: engine.running, "request runs")
        late.sendall(post_bytes(PATHS[0], content)[:-5])
        eventually(lambda: len(server.server.server_state.tasks) == 2, "the late one is being read")
        server.stop()
        eventually(lambda: server.get("/health")[0] == 503, "not ready")
        late.sendall(content[-5:])
        assert error_of(read_response(late)) == (503, "shutting_down")
        engine.held = False
    assert len(engine.seen) == 1


@pytest.mark.parametrize("second_signal", [False, True])
def test_what_runs_too_long_is_ended(second_signal):
    engine = FakeEngine()
    engine.held = True
    with RunningServer(engine, drain_timeout_s=60 if second_signal else 0.2) as server:
        with send(server, PATHS[0]) as queued:
            eventually(lambda: len(engine.running) == 1, "one runs")
            server.stop()
            if second_signal:
                eventually(lambda: server.get("/health")[0] == 503, "not ready")
                server.stop()
            assert error_of(read_response(queued)) == (503, "shutting_down")
        server.join()
    assert len(engine.aborted) == 1


def test_what_comes_after_the_end_of_all_requests_is_ended_too():
    async def enter():
        running = RunningRequests()
        running.stop_all()
        async with running.until_gone(asyncio.Event().wait):
            pytest.fail("it runs")

    with pytest.raises(Stopping):
        asyncio.run(enter())


def test_a_stream_that_runs_too_long_ends_with_an_error_event():
    engine = FakeEngine(step_s=0.05)
    with RunningServer(engine, drain_timeout_s=0.1) as server:
        with send(server, PATHS[0], stream=True) as connection:
            eventually(lambda: any(steps >= 1 for steps in engine.running.values()), "it runs")
            server.stop()
            body = read_response(connection)[2]
        assert b'"code":"shutting_down"' in body and b"[DONE]" not in body


def _accepts(server):
    try:
        server.connect().close()
    except ConnectionRefusedError:
        return False
    return True


SCRIPT = """
import asyncio
from redline.server.config import ServerConfig
from redline.server.serve import serve
from tests.server.fake_engine import FakeEngine
asyncio.run(serve(FakeEngine(step_s=0.01), ServerConfig(port=0)))
print("closed")
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_the_process_ends_well(number):
    with subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            server = RunningServer()
            server._announce(line.split()[3])
            with send(server, PATHS[0], max_tokens=30, stream=True) as connection:
                assert connection.recv(1)
                process.send_signal(number)
                received = b""
                while data := connection.recv(65536):
                    received += data
            assert b"data: [DONE]\n\n" in received
            assert process.stdout.read() == "closed\n" and process.wait(20) == 0
        finally:
            process.kill()
    assert line.startswith("Redline listens on http://127.0.0.1:")
