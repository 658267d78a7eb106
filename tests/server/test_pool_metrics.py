"""What Prometheus reads of several models that come and go."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields

from prometheus_client.parser import text_string_to_metric_families

from redline.engine.ledger import Counts, Ledger
from redline.engine.outputs import EngineStats
from redline.server.engine import ServedEngine
from redline.server.pool.carried import COUNTERS, OF_THE_LATEST, added, at_rest
from redline.server.pool.hosted_engine import HostedEngine
from tests.server.fake_engine import FakeEngine
from tests.server.running_server import eventually
from tests.server.test_pool import ask, served, sources


def samples(server):
    families = list(text_string_to_metric_families(server.get("/metrics")[2].decode()))
    names = [family.name for family in families]
    assert len(names) == len(set(names)), "a family is told twice"
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }


def test_counts_of_a_model_outlive_its_engine():
    with served(sources("a", "b")) as server:
        assert ("redline:generation_tokens_total", "a") not in samples(server)  # never loaded
        for name in ("a", "b", "a"):
            ask(server, name)
        got = samples(server)
        for prefix in ("redline:", "vllm:"):
            assert got[f"{prefix}generation_tokens_total", "a"] == 4
            assert got[f"{prefix}generation_tokens_total", "b"] == 2
            assert got[f"{prefix}e2e_request_latency_seconds_count", "a"] == 2
        assert got["redline:ready", "b"] == 1
        assert (got["redline:model_loaded", "a"], got["redline:model_loaded", "b"]) == (1, 0)
        assert got["redline:model_load_seconds_count", "a"] == 2
        assert got["redline:model_unloads_total", "b", "evicted"] == 1
        assert got["redline:models_memory_bytes",] == got["redline:models_memory_limit_bytes",]


def test_every_statistic_is_a_counter_or_of_the_latest_engine():
    told = {*COUNTERS, *OF_THE_LATEST, "speculative_steps", "requests", "steps"}
    assert told == {field.name for field in fields(EngineStats)}, "say in carried.py what a new one is"
    assert {field.name for field in fields(Counts)} == {
        "arrived", "finished", "aborted", "refused", "in_flight", "elapsed_s", "mean_in_flight", "mean_s"
    }  # fmt: skip


def test_the_laws_of_the_ledger_hold_of_the_sum():
    def counts(start_s):
        times = iter([start_s, start_s + 1, start_s + 3, start_s + 4, start_s + 7, start_s + 9])
        ledger = Ledger(lambda: next(times))
        first, second = ledger.arrive(), ledger.arrive()
        ledger.end("finished", first), ledger.end("aborted", second)
        ledger.refuse()
        return ledger

    stats = [FakeEngine().stats() for _ in range(2)]
    for each, start_s in zip(stats, (5.0, 70.0), strict=True):
        object.__setattr__(each, "requests", Counts())
        ledger = counts(start_s)
        ledger._clock = lambda start_s=start_s: start_s + 20
        object.__setattr__(each, "requests", ledger.counts())
    total = added(at_rest(stats[0]), stats[1])
    total.requests.check()
    assert (total.requests.arrived, total.requests.finished, total.requests.refused) == (6, 2, 2)
    assert total.speculative_steps == {"drafted": 4, "does not pay": 10}


def test_a_hosted_engine_has_all_that_a_served_one_has():
    hosted = HostedEngine("a")
    assert hosted.healthy and hosted.stalled_s == 0 and hosted.explain("x") is None
    hosted.put(FakeEngine())
    for name in (name for name in vars(ServedEngine) if not name.startswith("_")):
        assert hasattr(hosted, name), name


def test_what_waits_for_a_model_is_waiting_before_its_first_load_and_while_it_is_gone():
    """Autoscalers and gateways go by this gauge; a model that is not there has no engine to ask."""
    by_name = sources("a", "b", capacity=1)
    told = []

    def note():
        got = samples(server)
        for name in "ab":
            assert got["vllm:num_requests_waiting", name] == got["redline:num_requests_waiting", name]
        told.append((got["redline:num_requests_waiting", "a"], got["redline:num_requests_waiting", "b"]))

    with served(by_name) as server, ThreadPoolExecutor(8) as pool:
        note()
        by_name["b"].held = True
        asked = [pool.submit(ask, server, "b") for _ in range(3)]
        server.until_waiting("b", 3)
        note()  # b was never there
        by_name["b"].held = False
        assert [each.result()["model"] for each in asked] == ["b"] * 3
        note()

        engine = by_name["b"].engine
        engine.held = True
        asked = [pool.submit(ask, server, "b") for _ in range(3)]
        eventually(lambda: len(engine.waiting) == 2, "one runs, two wait in the engine")
        note()
        asked.append(pool.submit(ask, server, "a"))
        server.until_waiting("a")
        eventually(lambda: server.pool.find("b").leaving, "b takes nothing new")
        asked.append(pool.submit(ask, server, "b"))
        server.until_waiting("b")
        note()  # in the engine, and for b to come back
        engine.held = False
        for each in asked:
            each.result()
        note()
    assert told == [(0, 0), (0, 3), (0, 0), (0, 2), (1, 3), (0, 0)]
