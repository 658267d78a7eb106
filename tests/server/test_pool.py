"""Several models behind one server: who is served when, and that nobody suffers from another's model."""

import asyncio
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from redline.errors import ConfigError
from redline.server.pool.by_model import _once_more
from redline.server.pool.config import PoolConfig
from tests.server.pooled_server import MIB, FakeSource, PooledServer, entry
from tests.server.running_server import eventually, post_bytes, read_response
from tests.server.test_lifecycle import error_of

PATH = "/v1/completions"
BOTH = PoolConfig(memory_bytes=2 * MIB, residency_s=0.0)


def sources(*names, **options):
    return {name: FakeSource(**options) for name in names}


def served(by_name, **options):
    return PooledServer([entry(name, source) for name, source in by_name.items()], **options)


def body(model, prompt="x", **fields):
    return {"model": model, "prompt": prompt, "max_tokens": 2, **fields}


def ask(server, model, path=PATH, **fields):
    status, _, answer = server.post(path, body(model, **fields))
    assert status == 200, answer
    return json.loads(answer)


def send(server, model, **fields):
    connection = server.connect()
    connection.sendall(post_bytes(PATH, json.dumps(body(model, **fields)).encode()))
    return connection


def prompts(source):
    return [bytes(prompt).decode() for engine in source.engines for prompt, _ in engine.seen]


ROUTES = {
    PATH: {},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "x"}]},
    "/v1/messages": {"messages": [{"role": "user", "content": "x"}]},
    "/v1/messages/count_tokens": {"messages": [{"role": "user", "content": "x"}]},
    "/v1/responses": {"input": "x", "prompt": None},
    "/v1/embeddings": {"input": "x"},
    "/tokenize": {},
    "/detokenize": {"tokens": [65]},
}


@pytest.mark.parametrize("path", ROUTES)
def test_every_route_goes_to_the_model_that_the_request_names(path):
    by_name = sources("a", "b")
    with served(by_name) as server:
        for name in ("b", "a", "b"):
            ask(server, name, path, **ROUTES[path])
            assert server.states() == ["loaded" if each == name else "unloaded" for each in "ab"]
        assert [source.tries for source in by_name.values()] == [1, 2]
        assert error_of(server.post("/v1/completions", body("c"))) == (404, "model_not_found")
        assert sum(source.tries for source in by_name.values()) == 3


def test_the_routes_of_a_pool_are_those_of_one_model():
    from redline.server.app import _routes
    from redline.server.config import ServerConfig
    from redline.server.http_metrics import HttpMetrics
    from redline.server.pool.app import pool_app
    from redline.server.service import Service
    from tests.server.fake_engine import FakeEngine

    def told(routes):
        return {(route.path, method) for route in routes for method in route.methods}

    with served(sources("a")) as server:
        pooled = pool_app(server.pool, HttpMetrics())
    assert told(pooled.routes) == told(_routes(Service(FakeEngine(), ServerConfig())))


def test_the_list_has_every_name_and_state_and_looking_loads_nothing():
    by_name = sources("a", "b")
    entries = [entry("a", by_name["a"], aliases=("x", "a")), entry("b", by_name["b"])]
    with PooledServer(entries, preload=1) as server:
        listed = json.loads(server.get("/v1/models")[2])["data"]
        assert [(card["id"], card["root"], card["state"]) for card in listed] == [
            ("a", "a", "loaded"),
            ("x", "a", "loaded"),
            ("b", "b", "unloaded"),
        ]
        assert listed[2]["max_model_len"] == 512 and listed[2]["embedding"]["dimensions"] == 4
        assert json.loads(server.get("/v1/models/x")[2])["root"] == "a"
        assert error_of(server.get("/v1/models/c")) == (404, "model_not_found")
        assert by_name["b"].tries == 0
        assert ask(server, "x")["model"] == "x" and by_name["a"].tries == 1


def test_a_request_without_a_model_is_refused_and_loads_nothing():
    by_name = sources("a", "b")
    with served(by_name) as server:
        for path, sent in (("/tokenize", {"prompt": "x"}), (PATH, {"prompt": "x"}), (PATH, {"model": 3})):
            status, _, answer = server.post(path, sent)
            assert status == 400 and json.loads(answer)["error"]["param"] == "model"
        assert server.post(PATH, b"[1]")[0] == server.post(PATH, b"{")[0] == 400
        assert error_of(server.get("/tokenizer_info?model=a")) == (501, "off")
        assert [source.tries for source in by_name.values()] == [0, 0]


def test_what_runs_is_finished_before_its_model_goes_and_what_comes_meanwhile_is_served_after():
    by_name = sources("a", "b", step_s=0.01)
    with served(by_name) as server, ThreadPoolExecutor(4) as pool:
        connection = send(server, "a", stream=True, max_tokens=200)
        assert connection.recv(1)
        by_name["a"].engine.held = True
        wants_b = pool.submit(ask, server, "b")
        server.until_waiting("b")
        late = pool.submit(ask, server, "a", prompt="late")
        server.until_waiting("a")
        assert server.states() == ["loaded", "unloaded"] and by_name["a"].closed == []
        by_name["a"].engine.step_s = 0
        by_name["a"].engine.held = False
        with connection:
            assert b"[DONE]" in read_response(connection)[2]
        assert wants_b.result()["model"] == "b" and late.result()["model"] == "a"
        assert len(by_name["a"].closed) == 1 and prompts(by_name["a"]) == ["x", "late"]


def test_others_go_on_while_a_model_loads():
    by_name = sources("a", "b")
    by_name["b"].held = True
    with served(by_name, limits=BOTH) as server, ThreadPoolExecutor(1) as pool:
        ask(server, "a")
        wants_b = pool.submit(ask, server, "b")
        eventually(lambda: by_name["b"].tries == 1, "b is being loaded")
        for number in range(3):
            ask(server, "a", prompt=f"{number}")
            assert server.get("/health")[0] == server.get("/metrics")[0] == 200
        assert server.states() == ["loaded", "loading"] and not wants_b.done()
        by_name["b"].held = False
        assert wants_b.result()["model"] == "b"


def test_the_least_recently_used_gives_way():
    by_name = sources("a", "b", "c")
    with served(by_name, limits=BOTH) as server:
        for name in ("a", "b", "a", "c"):
            ask(server, name)
        assert server.states() == ["loaded", "unloaded", "loaded"]


def test_no_more_models_are_in_memory_than_may_be():
    by_name = sources("a", "b", "c")
    with served(by_name, limits=PoolConfig(memory_bytes=9 * MIB, max_loaded=1, residency_s=0.0)) as server:
        for name in "abc":
            ask(server, name)
        assert server.states() == ["unloaded", "unloaded", "loaded"]


def test_a_model_in_use_keeps_its_place_for_a_while():
    by_name = sources("a", "b", step_s=0.01)
    limits = PoolConfig(memory_bytes=MIB, residency_s=1e6)
    with served(by_name, limits=limits) as server, ThreadPoolExecutor(1) as pool:
        connection = send(server, "a", stream=True, max_tokens=200)
        assert connection.recv(1)
        by_name["a"].engine.held = True
        wants_b = pool.submit(ask, server, "b")
        server.until_waiting("b")
        late = send(server, "a")  # served, though somebody wants the place
        eventually(lambda: len(by_name["a"].engine.running) == 2, "it runs")
        by_name["a"].engine.step_s = 0
        by_name["a"].engine.held = False
        with connection, late:
            read_response(connection), read_response(late)
        assert wants_b.result()["model"] == "b"  # nobody uses it now


def test_all_that_wait_for_a_model_are_served_when_it_comes_although_another_wants_its_place():
    by_name = sources("a", "b")
    by_name["a"].held = True
    with served(by_name) as server, ThreadPoolExecutor(8) as pool:
        wanting = [pool.submit(ask, server, "a", prompt=f"{number}") for number in range(5)]
        server.until_waiting("a", 5)
        wanting.append(pool.submit(ask, server, "b"))
        server.until_waiting("b")
        by_name["a"].held = False
        for each in wanting:
            each.result()
        assert [source.tries for source in by_name.values()] == [1, 1]


def test_a_model_that_cannot_be_loaded_fails_its_own_requests_alone():
    by_name = sources("a", "b")
    by_name["b"].broken = ConfigError("/secret/path is wrong")
    with served(by_name, limits=BOTH) as server:
        ask(server, "a")
        for _ in range(3):
            answer = server.post(PATH, body("b"))
            assert error_of(answer) == (503, "model_load_failed") and b"secret" not in answer[2]
            assert int(answer[1]["retry-after"]) >= 1
            ask(server, "a")
        assert by_name["b"].tries == 1  # not again at once
        by_name["b"].broken = None
        server.pool.find("b").retry_s = 0.0
        ask(server, "b")
        assert b'redline:model_load_failures_total{model_name="b"} 1.0' in server.get("/metrics")[2]


def test_a_request_that_waits_for_its_model_can_leave_or_run_out_of_time():
    by_name = sources("a", "b")
    by_name["b"].held = True
    with served(by_name, limits=BOTH, queue_timeout_s=0.2) as server:
        with send(server, "b"):
            server.until_waiting("b")
        server.until_waiting("b", 0)
        assert error_of(server.post(PATH, body("b"))) == (504, "queue_timeout")
        eventually(lambda: len(server.server._running) == 0, "both are forgotten")
        by_name["b"].held = False
        ask(server, "b")
        assert prompts(by_name["b"]) == ["x"]
        assert b'client_disconnected_total{model_name="b"} 1.0' in server.get("/metrics")[2]


def test_each_model_has_a_queue_of_its_own():
    by_name = sources("a", "b")
    by_name["a"].held = True
    with served(by_name, max_waiting=2) as server, ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(ask, server, "a") for _ in range(2)]
        server.until_waiting("a", 2)
        assert error_of(server.post(PATH, body("a"))) == (429, "queue_full")
        waiting.append(pool.submit(ask, server, "b"))
        server.until_waiting("b")
        by_name["a"].held = False
        for each in waiting:
            each.result()


def test_a_model_that_nobody_uses_is_unloaded():
    by_name = sources("a", step_s=0.01)
    with served(by_name, limits=PoolConfig(memory_bytes=MIB, idle_unload_s=0.05)) as server:
        ask(server, "a")
        eventually(lambda: server.states() == ["unloaded"], "it is unloaded")
        assert ask(server, "a")["model"] == "a"
        with send(server, "a", stream=True, max_tokens=60) as connection:
            assert connection.recv(1)
            by_name["a"].engine.held = True
            time.sleep(0.1)
            assert server.states() == ["loaded"]
            by_name["a"].engine.held = False
            assert b"[DONE]" in read_response(connection)[2]


def test_an_engine_that_has_stopped_is_loaded_again_by_the_next_request():
    by_name = sources("a", "b")
    with served(by_name, limits=BOTH) as server:
        ask(server, "a"), ask(server, "b")
        by_name["a"].engine.die()
        assert server.get("/health")[0] == 200
        ask(server, "b")
        assert ask(server, "a")["model"] == "a" and by_name["a"].tries == 2


def test_a_stuck_engine_fails_health_and_its_own_requests():
    by_name = sources("a", "b")
    with served(by_name, limits=BOTH, step_timeout_s=5) as server:
        ask(server, "a"), ask(server, "b")
        by_name["a"].engine.stalled_s = 6.0
        assert error_of(server.get("/health")) == (503, "engine_stuck")
        assert error_of(server.post(PATH, body("a"))) == (503, "engine_stuck")
        metrics = server.get("/metrics")[2]
        assert b'redline:engine_stuck{model_name="a"} 1.0' in metrics
        assert b'redline:engine_stuck{model_name="b"} 0.0' in metrics


def test_what_waits_for_its_model_when_the_server_is_told_to_end_is_served():
    by_name = sources("a", "b")
    by_name["b"].held = True
    with served(by_name) as server, ThreadPoolExecutor(1) as pool:
        ask(server, "a")
        waiting = pool.submit(ask, server, "b")
        server.until_waiting("b")
        server.stop()
        eventually(lambda: server.get("/health")[0] == 503, "it drains")
        assert error_of(server.post(PATH, body("a"))) == (503, "shutting_down")
        assert b'redline:ready{model_name="a"} 0.0' in server.get("/metrics")[2]
        by_name["b"].held = False
        assert waiting.result()["model"] == "b"
        server.join()
    assert all(len(source.closed) == len(source.engines) for source in by_name.values())


def test_what_still_waits_at_the_end_of_the_drain_is_told():
    by_name = sources("a")
    by_name["a"].held = True
    with served(by_name, drain_timeout_s=0.05) as server, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(server.post, PATH, body("a"))
        server.until_waiting("a")
        server.stop()
        assert error_of(waiting.result()) == (503, "shutting_down")
        by_name["a"].held = False


def test_responses_are_kept_when_their_model_goes():
    by_name = sources("a", "b")
    with served(by_name) as server:
        first = ask(server, "a", "/v1/responses", prompt=None, input="one", max_output_tokens=2)
        ask(server, "b", "/v1/responses", prompt=None, input="two", max_output_tokens=2)
        assert server.get(f"/v1/responses/{first['id']}")[0] == 200
        follow = {
            "prompt": None,
            "max_output_tokens": 2,
            "input": "three",
            "previous_response_id": first["id"],
        }
        ask(server, "b", "/v1/responses", **follow)
        assert "one" in prompts(by_name["b"])[-1]


def test_models_that_can_never_be_served_are_refused_at_the_start():
    source = FakeSource()
    for entries, told in (
        ([entry("a", source), entry("a", source)], "two models are called 'a'"),
        ([entry("a", source), entry("b", source, aliases=("a",))], "two models are called 'a'"),
        ([entry("a", source), entry("b", source, num_bytes=MIB + 1)], "model 'b' takes 1048577 bytes"),
    ):
        with pytest.raises(ConfigError, match=told):
            asyncio.run(PooledServer(entries)._run())
    with pytest.raises(ConfigError, match="the first 2 models do not fit"):
        asyncio.run(PooledServer([entry("a", source), entry("b", source)], preload=2)._run())
    with pytest.raises(ConfigError, match="residency_s"):
        PoolConfig(memory_bytes=MIB, residency_s=-1)
    with pytest.raises(ConfigError, match="max_loaded"):
        PoolConfig(memory_bytes=MIB, max_loaded=0)


def test_a_body_that_was_read_is_not_kept_while_its_request_runs():
    """Else each answer that is on its way holds up to 4 MiB."""

    async def nothing_more():
        return {"type": "http.disconnect"}

    async def read():
        body = bytes(bytearray(1000))
        again = _once_more(body, nothing_more)
        held = sys.getrefcount(body)
        assert (await again())["body"] == body
        assert sys.getrefcount(body) == held - 1
        assert (await again())["type"] == "http.disconnect"

    asyncio.run(read())
