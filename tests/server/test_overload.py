"""Limits on what waits and for how long: the server's own and those of a key."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from redline.server.errors import HTTPError
from redline.server.keys import ApiKey
from redline.server.start_rate import MAX_WAIT_S, StartRate
from redline.server.waiting import WaitingRoom
from tests.server.fake_engine import FakeEngine
from tests.server.running_server import RunningServer, eventually, post_bytes, read_response
from tests.server.test_lifecycle import PATHS, error_of, request, send

ALICE, BOB = "sk-alice-123", "sk-bob-45678"


@pytest.fixture
def held():
    engine = FakeEngine(step_s=0.001)
    engine.held = True
    return engine


def tokens(count):
    return "x" * count


def test_tokens_that_wait_are_limited(held):
    with RunningServer(held, max_queued_tokens=100) as server, ThreadPoolExecutor(2) as pool:
        first = pool.submit(server.post, PATHS[1], request(prompt=tokens(60), max_tokens=1))
        eventually(lambda: len(held.running) == 1, "one waits")
        for body in (request(prompt=tokens(41)), request(prompt=[tokens(20), tokens(21)], stream=True)):
            status, headers, answer = server.post(PATHS[1], body)
            assert error_of((status, headers, answer)) == (429, "queue_full")
            assert b"60 tokens" in answer and b"at most 100" in answer and int(headers["retry-after"]) >= 1
        fits = pool.submit(server.post, PATHS[1], request(prompt=tokens(40), max_tokens=1))
        eventually(lambda: len(held.running) == 2, "two wait")
        head = post_bytes(PATHS[1], b"", content_length="1000000")
        assert error_of(server.raw(head)) == (429, "queue_full")  # full: the body is not waited for
        held.held = False
        assert first.result()[0] == fits.result()[0] == 200
        assert server.post(PATHS[1], request(prompt=tokens(100), max_tokens=1))[0] == 200
        assert server.post(PATHS[1], request(prompt=tokens(300), max_tokens=1))[0] == 200  # alone: any size


def test_tokens_of_a_request_that_ends_early_wait_no_more(held):
    with RunningServer(held, max_queued_tokens=100) as server:
        for body in (request(prompt=tokens(99)), request(prompt=[tokens(50), tokens(40)], stream=True)):
            connection = server.connect()
            connection.sendall(post_bytes(PATHS[1], json.dumps(body).encode()))
            eventually(lambda: held.running, "it waits")
            assert error_of(server.post(PATHS[1], request(prompt=tokens(50)))) == (429, "queue_full")
            connection.close()
            eventually(lambda: not held.running, "it is gone")
        held.held = False
        assert server.post(PATHS[1], request(prompt=tokens(100), max_tokens=1))[0] == 200


def keyed(key):
    return {"authorization": f"Bearer {key}"}


@pytest.fixture
def keys_file(tmp_path):
    path = tmp_path / "keys"
    path.touch(mode=0o600)
    path.write_text(f"{ALICE} name=alice max_requests=2\n{BOB} name=bob max_queued_tokens=10\n")
    return str(path)


def test_a_key_has_its_own_limit_of_requests(held, keys_file):
    with RunningServer(held, api_keys_file=keys_file) as server, ThreadPoolExecutor(2) as pool:
        mine = [pool.submit(server.post, path, request(max_tokens=1), **keyed(ALICE)) for path in PATHS]
        eventually(lambda: len(held.running) == 2, "two are here")
        status, headers, body = server.post(PATHS[0], request(), **keyed(ALICE))
        assert error_of((status, headers, body)) == (429, "too_many_requests")
        assert b"2 of your requests" in body and headers["retry-after"] == "1"
        head = post_bytes(PATHS[1], b"", content_length="1000000", **keyed(ALICE))
        assert error_of(server.raw(head)) == (429, "too_many_requests")  # the body is not waited for
        models = (
            f"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nx-api-key: {ALICE}\r\nConnection: close\r\n\r\n"
        )
        assert server.raw(models.encode())[0] == 200
        other = pool.submit(server.post, PATHS[0], request(max_tokens=1), **keyed(BOB))
        held.held = False
        assert [answer.result()[0] for answer in (*mine, other)] == [200] * 3
        for _ in range(3):  # what was counted was given back, also by what was refused
            assert server.post(PATHS[0], request(max_tokens=1), **keyed(ALICE))[0] == 200


def test_a_client_that_leaves_gives_back_what_counted_for_its_key(held, keys_file):
    with RunningServer(held, api_keys_file=keys_file) as server:
        for stream in (True, False):
            connections = [server.connect() for _ in range(2)]
            for connection in connections:
                body = json.dumps(request(stream=stream)).encode()
                connection.sendall(post_bytes(PATHS[0], body, **keyed(ALICE)))
            eventually(lambda: len(held.running) == 2, "two are here")
            for connection in connections:
                connection.close()
            eventually(lambda: not held.running, "they are gone")
        held.held = False
        eventually(
            lambda: server.post(PATHS[0], request(max_tokens=1), **keyed(ALICE))[0] == 200, "there is room"
        )


def test_a_key_has_its_own_limit_of_tokens_that_wait(held, keys_file):
    with RunningServer(held, api_keys_file=keys_file) as server, ThreadPoolExecutor(2) as pool:
        mine = pool.submit(server.post, PATHS[1], request(prompt=tokens(8), max_tokens=1), **keyed(BOB))
        eventually(lambda: len(held.running) == 1, "one waits")
        status, headers, body = server.post(PATHS[1], request(prompt=tokens(3)), **keyed(BOB))
        assert error_of((status, headers, body)) == (429, "queue_full") and b"your prompts" in body
        other = pool.submit(server.post, PATHS[1], request(prompt=tokens(30), max_tokens=1), **keyed(ALICE))
        eventually(lambda: len(held.running) == 2, "the other is not held up")
        held.held = False
        assert mine.result()[0] == other.result()[0] == 200


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


def test_the_time_to_come_back_follows_the_measured_rate():
    clock = Clock()
    rate = StartRate(clock)
    assert rate.wait_s(10**6) == 1  # nothing is known yet
    for _ in range(9):
        rate.started()
        clock.now_s += 0.5
    assert rate.per_s() == pytest.approx(2.0)
    assert [rate.wait_s(count) for count in (0, 1, 3, 20, 10**6)] == [1, 1, 2, 10, MAX_WAIT_S]
    clock.now_s += 100  # the queue has stopped moving
    assert rate.wait_s(1) > 10


def test_a_refusal_says_when_half_of_the_queue_will_be_gone():
    clock = Clock()
    room = WaitingRoom(20, rate=StartRate(clock))
    with room.enter(20) as place:
        for prompt in range(10):
            clock.now_s += 1
            place.started(prompt)
        with room.enter(10), pytest.raises(HTTPError) as raised:
            room.check(1)
    assert raised.value.headers["retry-after"] == "9"  # 10 of 20 wait for a place, at 10 in 9 s
    assert (room.num_waiting, room.num_tokens) == (0, 0)


def test_the_room_forgets_keys_that_wait_no_more():
    room = WaitingRoom(10, 100)
    for number in range(50):
        with room.enter(1, ApiKey(name=f"k{number}")) as place:
            place.weigh([5])
            place.started(0)
    assert not room._tokens_of and (room.num_waiting, room.num_tokens) == (0, 0)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("stream", [False, True])
def test_what_waits_too_long_is_504(held, path, stream):
    with RunningServer(held, queue_timeout_s=0.2) as server:
        answer = server.post(path, request(stream=stream))
        assert error_of(answer) == (504, "queue_timeout") and b"0.2 s" in answer[2]
        assert held.running == {} and len(held.aborted) == 1


@pytest.mark.parametrize("prompt", ["x", ["x", "y"]])
def test_what_has_its_first_token_waits_no_more(prompt):
    engine = FakeEngine(step_s=0.005, capacity=1)
    with RunningServer(engine, queue_timeout_s=0.5) as server:
        assert server.post(PATHS[1], request(prompt=prompt, max_tokens=150))[0] == 200  # 0.75 s and more


def test_a_request_has_its_time_from_its_arrival_not_from_the_end_of_its_body():
    content = json.dumps(request(max_tokens=1)).encode()
    with RunningServer(FakeEngine(step_s=0.05), request_timeout_s=0.5) as server, server.connect() as slow:
        slow.sendall(post_bytes(PATHS[0], content)[:-5])
        time.sleep(0.6)
        slow.sendall(content[-5:])
        assert error_of(read_response(slow)) == (504, "request_timeout")


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_takes_too_long_is_504_before_its_first_byte_and_an_event_after(stream):
    engine = FakeEngine(step_s=0.01)
    with RunningServer(engine, request_timeout_s=0.5) as server:
        with send(server, PATHS[0], stream=stream) as connection:
            status, _, body = read_response(connection)
        if stream:
            last = json.loads(body.decode().strip().split("\n\n")[-1].removeprefix("data: "))
            assert status == 200 and b"[DONE]" not in body and last["error"]["code"] == "request_timeout"
        else:
            assert error_of((status, {}, body)) == (504, "request_timeout")
        assert engine.running == {} and len(engine.aborted) == 1
        assert server.post(PATHS[0], request(max_tokens=1))[0] == 200
    assert len(engine.aborted) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_does_not_read_is_dropped(stream):
    engine = FakeEngine()
    with RunningServer(engine, send_timeout_s=0.2) as server, server.connect() as connection:
        body = request(stream=stream, n=60, logprobs=5, prompt="x")
        connection.sendall(post_bytes(PATHS[1], json.dumps(body).encode()))
        eventually(lambda: engine.seen, "it runs")
        eventually(lambda: not server.server.server_state.connections, "the connection is dropped")
        eventually(lambda: not server.server.server_state.tasks, "the request is forgotten")
        assert engine.running == {} and len(server.server._running) == 0


def test_a_body_that_trickles_after_its_answer_is_cut_off():
    with RunningServer(header_timeout_s=0.2) as server, server.connect() as connection:
        connection.sendall(post_bytes("/nope", b"x", content_length="100000", connection="keep-alive"))
        assert connection.recv(65536).startswith(b"HTTP/1.1 404")
        eventually(lambda: not server.server.server_state.connections, "the connection is closed")
