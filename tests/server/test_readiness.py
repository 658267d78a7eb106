"""Whether the server takes requests: while it loads, when no step ends, and once it drains."""

import asyncio
import json
import logging
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

from redline.server.config import ServerConfig
from redline.server.draining import DrainingServer
from redline.server.listening import listening_socket, url_of
from tests.server.fake_engine import FakeEngine
from tests.server.running_server import RunningServer, eventually, read_response
from tests.server.test_lifecycle import PATHS, error_of, request, send
from tests.server.test_metrics import samples


class LoadingServer(RunningServer):
    """Listens; its engine comes with `load`."""

    async def _run(self):
        self._loop = asyncio.get_running_loop()
        self.server = DrainingServer(None, self.config)
        with listening_socket(self.config) as listener:
            self._announce(url_of(listener, self.config))
            await self.server.serve(sockets=[listener])

    def load(self):
        loaded = threading.Event()
        self._loop.call_soon_threadsafe(lambda: (self.server.ready(self.engine), loaded.set()))
        assert loaded.wait(20)


def test_everything_is_503_until_the_model_is_loaded():
    with LoadingServer() as server:
        answers = [
            server.get("/health"),
            server.get("/metrics"),
            server.get("/v1/models"),
            server.get("/nope"),
        ]
        for answer in [*answers, *(server.post(path, request()) for path in PATHS)]:
            assert error_of(answer) == (503, "loading") and int(answer[1]["retry-after"]) >= 1
            assert len(answer[1]["x-request-id"]) == 32
        server.load()
        assert server.get("/health")[0] == 200
        assert server.post(PATHS[0], request(max_tokens=1))[0] == 200


def test_a_server_that_loads_wants_its_keys_and_its_limits_already():
    with LoadingServer(api_keys=("sk-some-key",), max_body_bytes=100) as server:
        assert error_of(server.get("/v1/models")) == (401, "invalid_api_key")
        assert error_of(server.get("/health")) == (503, "loading")
        assert error_of(server.post(PATHS[0], b" " * 101)) == (413, "body_too_large")


def test_an_engine_that_ends_no_step_fails_health_until_it_does(caplog):
    engine = FakeEngine()
    with RunningServer(engine, step_timeout_s=5) as server:
        engine.stalled_s = 4.9  # a long step
        assert server.get("/health")[0] == 200
        engine.stalled_s = 5.1
        for answer in (server.get("/health"), server.post(PATHS[0], request()), server.get("/health")):
            assert error_of(answer) == (503, "engine_stuck") and b"no step for 5 s" in answer[2]
            assert int(answer[1]["retry-after"]) >= 1
        assert engine.seen == []
        got = samples(server)
        assert got[("redline:ready",)] == 0 and got[("redline:engine_stuck",)] == 1
        assert got[("redline:engine_stalled_seconds",)] == 5.1
        engine.stalled_s = 0.0
        assert server.get("/health")[0] == 200
        got = samples(server)
        assert got[("redline:ready",)] == 1 and got[("redline:engine_stuck",)] == 0
        assert server.post(PATHS[0], request(max_tokens=1))[0] == 200
    errors = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert errors == ["no step has ended for 5 s", "steps end again (limit: 5 s)"]  # each once


def test_the_watchdog_can_be_switched_off():
    engine = FakeEngine()
    engine.stalled_s = 1e9
    with RunningServer(engine, step_timeout_s=None) as server:
        assert server.get("/health")[0] == 200


def test_a_draining_or_dead_server_is_not_ready(own_server):
    own_server.engine.die()
    assert samples(own_server)[("redline:ready",)] == 0
    assert error_of(own_server.get("/health")) == (503, "engine_dead")


SCRIPT = """
import asyncio, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored
from redline.server.config import ServerConfig
from redline.server.serve import serve
from tests.server.fake_engine import FakeEngine
engine = FakeEngine(step_s=0.01)
engine.held = HELD
async def load():
    print("loading", flush=True)
    if FOREVER:
        await asyncio.Event().wait()
    return engine
number = asyncio.run(serve(load, ServerConfig(port=int(sys.argv[1]), drain_timeout_s=60)))
print("ended by", number and number.name, flush=True)
"""


@contextmanager
def process(*, held=False, loads_forever=False):
    """A server of its own, with what it has printed so far and a RunningServer that talks to it."""
    with listening_socket(ServerConfig(port=0)) as free:
        port = free.getsockname()[1]
    script = SCRIPT.replace("HELD", str(held)).replace("FOREVER", str(loads_forever))
    with subprocess.Popen(
        [sys.executable, "-c", script, str(port)], stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout.readline() == "loading\n"
            server = RunningServer()
            server._announce(f"http://127.0.0.1:{port}")
            yield child, server
        finally:
            child.kill()


@pytest.mark.parametrize("numbers", [(signal.SIGTERM, signal.SIGTERM), (signal.SIGTERM, signal.SIGINT)])
def test_a_second_signal_ends_at_once_and_is_what_ended_it(numbers):
    with process(held=True) as (child, server):
        assert child.stdout.readline().startswith("Redline listens on")
        with send(server, PATHS[0], stream=True) as connection:
            eventually(lambda: samples(server)[("redline:num_requests_running",)] == 1, "it runs")
            child.send_signal(numbers[0])
            eventually(lambda: server.get("/health")[0] == 503, "not ready")
            assert samples(server)[("redline:num_requests_running",)] == 1  # 60 s to go
            child.send_signal(numbers[1])
            assert error_of(read_response(connection)) == (503, "shutting_down")
        assert child.stdout.read() == f"ended by {numbers[1].name}\n" and child.wait(20) == 0


def test_a_signal_while_the_model_loads_ends_it():
    with process(loads_forever=True) as (child, server):
        assert error_of(server.get("/health")) == (503, "loading")
        child.send_signal(signal.SIGTERM)
        assert child.stdout.read() == "ended by SIGTERM\n"


def test_an_engine_that_cannot_be_loaded_ends_the_server():
    class Broken(Exception):
        pass

    async def load():
        raise Broken

    from redline.server.serve import serve

    with pytest.raises(Broken):
        asyncio.run(serve(load, ServerConfig(port=0)))


def test_a_hangup_ends_a_server_that_has_nothing_to_read_again(tmp_path):
    with process(held=True) as (child, _):
        assert child.stdout.readline().startswith("Redline listens on")
        child.send_signal(signal.SIGHUP)
        assert child.wait(20) == -signal.SIGHUP


def test_health_has_the_shape_that_launchers_know(own_server):
    assert json.loads(own_server.get("/health")[2]) == {"status": "ok"}
