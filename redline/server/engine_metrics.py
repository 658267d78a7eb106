"""EngineCollector: gauges and counters of engines, read when Prometheus asks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from redline.core.distribution import Distribution
from redline.server.engine import ServedEngine
from redline.server.readiness import Readiness

if TYPE_CHECKING:
    from redline.engine.outputs import EngineStats

Read = Callable[["EngineStats"], float]

GAUGES: dict[str, tuple[str, Read]] = {
    "num_requests_running": ("Requests in the batch.", lambda stats: stats.running),
    "kv_cache_usage_perc": ("Share of K/V blocks in use, 0 to 1.", lambda stats: stats.kv_usage),
    "kv_cache_bytes": ("Memory of all K/V blocks.", lambda stats: stats.kv_bytes),
    "model_weight_bytes": ("Memory of the weights.", lambda stats: stats.weight_bytes),
    # arrived = finished + aborted + refused + in flight, and Little's law: redline/engine/ledger.py.
    "requests_in_flight": ("Requests waiting or running.", lambda stats: stats.requests.in_flight),
    "requests_in_flight_mean": ("The same, over all time.", lambda stats: stats.requests.mean_in_flight),
    "request_residence_seconds_mean": ("Spent here so far.", lambda stats: stats.requests.mean_s),
}
COUNTERS: dict[str, tuple[str, Read]] = {
    "num_preemptions": ("Requests put back into the queue.", lambda stats: stats.num_preemptions),
    "prompt_tokens": ("Prompt tokens processed.", lambda stats: stats.prompt_tokens),
    "generation_tokens": ("Tokens generated.", lambda stats: stats.generation_tokens),
    "prefix_cache_queries": ("Prompt tokens looked up.", lambda stats: stats.prefix_queries),
    "prefix_cache_hits": ("Prompt tokens found.", lambda stats: stats.prefix_hits),
    "prefix_cache_hit_requests": (
        "Requests of which some was found.",
        lambda stats: stats.prefix_hit_requests,
    ),
    "prefix_cache_evictions": ("Blocks evicted.", lambda stats: stats.prefix_evictions),
    "offload_spilled_blocks": ("Evicted blocks kept.", lambda stats: stats.offload_spilled_blocks),
    "offload_loaded_tokens": ("Prompt tokens read back.", lambda stats: stats.offload_loaded_tokens),
    "spec_decode_num_draft_tokens": ("Tokens guessed ahead.", lambda stats: stats.draft_tokens),
    "spec_decode_num_accepted_tokens": ("Of them, right.", lambda stats: stats.accepted_tokens),
    "requests_arrived": ("Requests that came.", lambda stats: stats.requests.arrived),
    "requests_finished": ("Requests answered in full.", lambda stats: stats.requests.finished),
    "requests_aborted": ("Requests ended early.", lambda stats: stats.requests.aborted),
    "requests_refused": ("Requests turned away.", lambda stats: stats.requests.refused),
    "roofline_least_seconds": ("What steps would take at the roofline.", lambda stats: stats.steps.least_s),
    "roofline_measured_seconds": ("What those steps took.", lambda stats: stats.steps.measured_s),
}
HISTOGRAMS: dict[str, tuple[str, Callable[[EngineStats], Distribution]]] = {
    "step_seconds": ("How long steps take.", lambda stats: stats.steps.seconds),
    "step_batch_size": ("Requests in a step.", lambda stats: stats.steps.batch),
    "iteration_tokens_total": (
        "Tokens that pass through the model in a step.",
        lambda stats: stats.steps.tokens,
    ),
}
MODEL = "model_name"
WAITING = "Requests in the queue, or waiting for their model to be loaded."


class EngineCollector(Collector):
    """The engines that are loaded, each with the name of its model as a label, and the readiness of all."""

    def __init__(self, readiness: Readiness) -> None:
        self._engines: dict[str, tuple[ServedEngine, Readiness]] = {}
        self._outside: dict[str, Callable[[], int]] = {}  # by model: requests that wait before the engine
        self._readiness = readiness
        self._started_s = time.time()

    def add(self, engine: ServedEngine, readiness: Readiness | None = None) -> None:
        """Ask it too; it may be said again. `readiness`: its own, where it is not that of all."""
        self._engines[engine.model_name] = engine, readiness or self._readiness

    def add_queue(self, model: str, num_waiting: Callable[[], int]) -> None:
        """Count what waits for a model as waiting requests too, also while it has no engine."""
        self._outside[model] = num_waiting

    def collect(self) -> Iterator[Metric]:
        stats = {name: engine.stats() for name, (engine, _) in list(self._engines.items())}
        for name, (text, read) in GAUGES.items():
            yield _gauge(name, text, ((model, read(each)) for model, each in stats.items()))
        yield _gauge("num_requests_waiting", WAITING, self._waiting(stats).items())
        for name, (text, read) in COUNTERS.items():
            yield _counter(name, text, [], (((model,), read(each)) for model, each in stats.items()))
        for name, (text, distribution) in HISTOGRAMS.items():
            yield histogram(name, text, {model: distribution(each) for model, each in stats.items()})
        yield self._speculation(stats)
        yield self._roofline(stats)
        yield self._cache_config(stats)
        yield from self._health()
        yield self._adapters()

    def _waiting(self, stats: dict[str, EngineStats]) -> dict[str, int]:
        waiting = {model: num_waiting() for model, num_waiting in self._outside.items()}
        for model, each in stats.items():
            waiting[model] = waiting.get(model, 0) + each.waiting
        return waiting

    def _speculation(self, stats: dict[str, EngineStats]) -> Metric:
        """Why nothing is guessed, or that something is, in steps that decode."""
        values = [
            ((model, each.speculative_method, outcome), count)
            for model, each in stats.items()
            for outcome, count in each.speculative_steps.items()
            if each.speculative_method
        ]
        text = "Steps that decode, by what became of guessing ahead."
        return _counter("spec_decode_steps", text, ["method", "outcome"], values)

    def _roofline(self, stats: dict[str, EngineStats]) -> Metric:
        """Without samples until `redline hardware` has measured the machine, and steps were made."""
        fractions = {model: each.steps.roofline_fraction for model, each in stats.items()}
        known = [(model, share) for model, share in fractions.items() if share is not None]
        return _gauge("roofline_fraction", "Speed of the latest steps beside the machine's roofline.", known)

    def _cache_config(self, stats: dict[str, EngineStats]) -> Metric:
        family = GaugeMetricFamily(
            "redline:cache_config_info",
            "1, with what the K/V cache is made of. num_gpu_blocks: blocks, on whatever device.",
            labels=[MODEL, "block_size", "num_gpu_blocks"],
        )
        for model, each in stats.items():
            family.add_metric([model, str(each.block_size), str(each.num_blocks)], 1)
        return family

    def _health(self) -> Iterator[Metric]:
        engines = [(model, *each) for model, each in list(self._engines.items())]
        ready = ((model, readiness.problem() is None) for model, _, readiness in engines)
        yield _gauge("ready", "1 while new requests are taken, as /health says, else 0.", ready)
        stuck = ((model, readiness.stuck) for model, _, readiness in engines)
        yield _gauge("engine_stuck", "1 while the watchdog sees no step end, else 0.", stuck)
        stalled = ((model, engine.stalled_s) for model, engine, _ in engines)
        yield _gauge("engine_stalled_seconds", "Since a step ended.", stalled)
        cores = GaugeMetricFamily("redline:cpu_cores", "Cores that this process may use.")
        cores.add_metric([], _num_cores())
        yield cores

    def _adapters(self) -> Metric:
        """Inference gateways look for it; the value is the time of the latest change."""
        family = GaugeMetricFamily(
            "redline:lora_requests_info",
            "LoRA adapters: there are none.",
            labels=["max_lora", "running_lora_adapters", "waiting_lora_adapters"],
        )
        family.add_metric(["0", "", ""], self._started_s)
        return family


def _num_cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # where the system has it
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _gauge(name: str, text: str, values: Iterable[tuple[str, float]]) -> Metric:
    family = GaugeMetricFamily(f"redline:{name}", text, labels=[MODEL])
    for model, value in values:
        family.add_metric([model], value)
    return family


def _counter(
    name: str, text: str, labels: list[str], values: Iterable[tuple[tuple[str, ...], float]]
) -> Metric:
    family = CounterMetricFamily(f"redline:{name}", text, labels=[MODEL, *labels])
    for each, value in values:
        family.add_metric(list(each), value)
    return family


def histogram(name: str, text: str, values: dict[str, Distribution]) -> Metric:
    """A histogram with a distribution for each model."""
    family = HistogramMetricFamily(f"redline:{name}", text, labels=[MODEL])
    for model, each in values.items():
        total, buckets = 0, []
        for bound, count in zip([*map(float, each.bounds), "+Inf"], list(each.counts), strict=True):
            total += count
            buckets.append((str(bound), total))
        family.add_metric([model], buckets, each.sum)
    return family
