"""`GET /v1/redline/live`: numbers of requests, for those who may see them, while somebody looks."""

import json
import time
from contextlib import contextmanager

import pytest

from redline.protocol.sse import SSEDecoder
from redline.server import live
from redline.server.latest import BOUNDS_S, LatestRequests
from tests.server.fake_engine import FakeEngine, _metrics
from tests.server.pooled_server import FakeSource, PooledServer, entry
from tests.server.running_server import RunningServer, eventually, post_bytes

PATH = "/v1/redline/live"
ALICE, BOB = "sk-alice-12", "sk-bob-1234"
BODY = {"model": "fake-model", "prompt": "a secret prompt", "max_tokens": 3}


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    monkeypatch.setattr(live, "EVERY_S", 0.05)


def look(server, query="", key=None):
    auth = f"Authorization: Bearer {key}\r\n" if key else ""
    request = f"GET {PATH}{query} HTTP/1.1\r\nHost: localhost\r\n{auth}Connection: close\r\n\r\n"
    status, headers, body = server.raw(request.encode())
    return status, headers, json.loads(body)


class Stream:
    """A stream of snapshots."""

    def __init__(self, server):
        self.connection = server.connect()
        self.connection.sendall(f"GET {PATH}?stream=true HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        self.events, self.received = [], b""
        self._decoder = SSEDecoder()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def read(self):
        """Wait for the next event; False: there are no more."""
        while not self.events:
            data = self.connection.recv(65536)
            self.received += data
            if not data:
                return False
            self.events += [json.loads(each) for each in self._decoder.feed(data) if each.startswith("{")]
        return True

    def next(self):
        assert self.read(), "the stream has ended"
        return self.events.pop(0)


@contextmanager
def held(server, **headers):
    """A request that waits for steps that are not taken."""
    server.engine.held = True
    with server.connect() as connection:
        connection.sendall(post_bytes("/v1/completions", json.dumps(BODY).encode(), **headers))
        eventually(lambda: server.engine.running, "it runs")
        yield
        server.engine.held = False


def test_shows_numbers_of_a_request_and_nothing_that_it_says(own_server):
    with held(own_server):
        status, headers, seen = look(own_server)
        (job,) = own_server.engine.running
    assert status == 200 and headers["content-type"] == "application/json"
    (request,) = seen["requests"]
    assert (request["state"], request["prompt_tokens"]) == ("decode", 3)
    assert len(request["request_id"]) == live.SHORT_ID and request["request_id"] in job
    assert seen["decisions"][0]["request_id"] == request["request_id"]
    assert (seen["counts"]["running"], seen["status"], seen["num_others"]) == (1, "ok", 0)
    assert "secret" not in json.dumps(seen) and "tenant" not in json.dumps(seen)


def test_distributions_are_of_the_requests_that_ended(own_server):
    assert look(own_server)[2]["latency"]["ttft"] == {
        "count": 0,
        "percentiles": {"p50": None, "p90": None, "p99": None},
        "bars": [],
    }
    for _ in range(3):
        own_server.post("/v1/completions", BODY)
    seen = look(own_server)[2]
    ttft = _metrics(3, 3).ttft_s
    assert seen["num_ended"] == 3 == seen["latency"]["ttft"]["count"]
    assert seen["latency"]["ttft"]["percentiles"] == {"p50": ttft, "p90": ttft, "p99": ttft}
    ((low, high, number),) = seen["latency"]["ttft"]["bars"]
    assert low < ttft <= high and number == 3


def test_percentiles_and_bars_hold_every_value():
    latest = LatestRequests()
    metrics = _metrics(3, 3)
    values = [1e-5, 0.004, 0.0051, 0.02, 1.0, 3000.0]
    for value in values:
        latest.ended(type(metrics)(**{**_fields(metrics), "ttft_s": value}))
    found = latest.distributions()["ttft"]
    assert found["percentiles"] == {"p50": 0.0051, "p90": 3000.0, "p99": 3000.0}
    assert sum(bar[2] for bar in found["bars"]) == len(values)
    assert found["bars"][0][:2] == (0.0, BOUNDS_S[0]) and found["bars"][-1][:2] == (BOUNDS_S[-1], None)
    for low, high, number in found["bars"]:
        assert number == sum(low < value <= (high or float("inf")) for value in values)


def _fields(metrics):
    return {name: getattr(metrics, name) for name in metrics.__dataclass_fields__}


def test_a_key_sees_the_requests_of_its_own_name():
    with RunningServer(api_keys=(ALICE, BOB)) as server, held(server, authorization=f"Bearer {ALICE}"):
        assert look(server)[0] == 401
        own, others = look(server, key=ALICE)[2], look(server, key=BOB)[2]
    assert (len(own["requests"]), own["num_others"], len(own["decisions"])) == (1, 0, 1)
    assert (others["requests"], others["num_others"], others["decisions"]) == ([], 1, [])
    assert others["counts"]["running"] == 1


def test_a_stream_says_what_has_changed_and_only_then(own_server):
    with Stream(own_server) as stream:
        assert stream.next()["counts"]["running"] == 0
        with held(own_server):
            while not stream.next()["counts"]["running"]:
                pass
            looks = own_server.engine.num_looks
            eventually(lambda: own_server.engine.num_looks > looks + 2, "it looks on")
            stream.connection.settimeout(0.01)
            with pytest.raises(TimeoutError):
                stream.next()


def test_nobody_looks_and_nothing_is_done(own_server):
    with Stream(own_server) as stream:
        stream.next()
    eventually(lambda: _rests(own_server.engine), "the stream has ended")


def _rests(engine: FakeEngine) -> bool:
    looks = engine.num_looks
    time.sleep(1.5 * live.EVERY_S)
    return engine.num_looks == looks


def test_a_stream_ends_with_the_server():
    with RunningServer() as server, Stream(server) as stream:
        stream.next()
        server.stop()
        assert stream.next()["status"] == "shutting_down"
        assert not stream.read()
        assert stream.received.endswith(b"\r\n0\r\n\r\n"), "it was cut off"


def test_there_is_an_end_to_open_streams(own_server, monkeypatch):
    monkeypatch.setattr(live, "MAX_STREAMS", 1)
    with Stream(own_server) as stream:
        stream.next()
        status, headers, body = look(own_server, "?stream=true")
    assert (status, body["error"]["code"], headers["retry-after"]) == (429, "too_many_requests", "5")


def test_of_several_models_the_one_that_is_named_is_shown_and_none_is_loaded_for_it():
    source = FakeSource()
    with PooledServer([entry("one", source), entry("two", FakeSource())]) as server:
        status, _, body = look(server, "?model=one")
        assert (status, body["error"]["code"], source.tries) == (503, "not_loaded", 0)
        assert server.post("/v1/completions", {**BODY, "model": "one"})[0] == 200
        assert look(server, "?model=one")[2]["num_ended"] == 1 == look(server)[2]["num_ended"]
        assert look(server, "?model=two")[0] == 503
        assert look(server, "?model=three")[0] == 404


@pytest.mark.parametrize(
    ("query", "status", "param"),
    [
        ("?stream=yes", 400, "stream"),
        ("?model=other", 404, "model"),
        ("?stream=true&model=other", 404, "model"),
    ],
)
def test_what_is_wrong_is_named(server, query, status, param):
    answer = look(server, query)
    assert (answer[0], answer[2]["error"]["param"]) == (status, param)
