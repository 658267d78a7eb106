"""Prometheus metrics: own names, and vLLM's names for dashboards and autoscalers that exist already.

Labels hold the served model's name and values from fixed sets, never anything a client sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from redline.server.engine import ServedEngine

if TYPE_CHECKING:
    from redline.config.sampling import SamplingParams
    from redline.engine.ledger import Counts
    from redline.engine.outputs import Delta, RequestMetrics

SECONDS = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80)
LONG_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 60, 120, 240, 480)
STEP_SECONDS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.075,
    0.1,
    0.15,
    0.2,
    0.3,
    0.4,
    0.5,
    0.75,
    1,
    2.5,
    5,
)
TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000)
COUNTS = (0, 1, 2, 5, 10, 20, 50, 100)

HISTOGRAMS: dict[str, tuple[str, tuple[float, ...]]] = {
    "request_prompt_tokens": ("Prompt tokens of a request.", TOKENS),
    "request_generation_tokens": ("Generated tokens of a request.", TOKENS),
    "request_params_n": ("Answers asked for per prompt.", COUNTS),
    "request_params_max_tokens": ("Limit of generated tokens asked for.", TOKENS),
    "request_num_preemptions": ("How often a request lost its place in the batch.", COUNTS),
    "time_to_first_token_seconds": ("From arrival to the first token.", SECONDS),
    "inter_token_latency_seconds": ("Between consecutive tokens.", STEP_SECONDS),
    "request_time_per_output_token_seconds": ("Mean per token after the first.", STEP_SECONDS),
    "e2e_request_latency_seconds": ("From arrival to the last token.", LONG_SECONDS),
    "request_queue_time_seconds": ("From arrival to the first step.", LONG_SECONDS),
    "request_inference_time_seconds": ("From the first step to the last token.", LONG_SECONDS),
    "request_prefill_time_seconds": ("From the first step to the first token.", LONG_SECONDS),
    "request_decode_time_seconds": ("From the first token to the last.", LONG_SECONDS),
}
COUNTERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "request_success": ("Answers that ended, by reason.", ("finished_reason",)),
    "http_requests_client_disconnected": ("Requests whose client left first.", ()),
}


class ServerMetrics:
    """Counts what passes through one server; the engine's own numbers are read when asked for."""

    def __init__(self, engine: ServedEngine) -> None:
        self._model = engine.model_name
        own = CollectorRegistry()
        own.register(EngineCollector(engine))
        self._histograms = {
            name: Histogram(f"redline:{name}", text, ["model_name"], buckets=buckets, registry=own)
            for name, (text, buckets) in HISTOGRAMS.items()
        }
        self._counters = {
            name: Counter(f"redline:{name}", text, ["model_name", *labels], registry=own)
            for name, (text, labels) in COUNTERS.items()
        }
        self._registry = CollectorRegistry()
        self._registry.register(AliasCollector(own))

    def render(self) -> bytes:
        """All metrics in Prometheus text format."""
        return generate_latest(self._registry)

    def delta(self, delta: Delta, params: SamplingParams) -> None:
        """Something came back; the histograms take a request when it is over."""
        if delta.finish_reason is not None:
            self._counters["request_success"].labels(self._model, delta.finish_reason).inc()
        if delta.metrics is not None:
            self._request(delta.metrics)
            self._observe("request_params_n", params.n)
            if params.max_tokens is not None:
                self._observe("request_params_max_tokens", params.max_tokens)

    def client_gone(self) -> None:
        """A client left before its answer was complete."""
        self._counters["http_requests_client_disconnected"].labels(self._model).inc()

    def _request(self, metrics: RequestMetrics) -> None:
        self._observe("request_prompt_tokens", metrics.num_prompt_tokens)
        self._observe("request_generation_tokens", metrics.num_output_tokens)
        self._observe("request_num_preemptions", metrics.num_preemptions)
        self._observe("time_to_first_token_seconds", metrics.ttft_s)
        self._observe("request_time_per_output_token_seconds", metrics.tpot_s)
        self._observe("e2e_request_latency_seconds", metrics.e2e_s)
        self._observe("request_queue_time_seconds", metrics.queue_s)
        self._observe("request_inference_time_seconds", metrics.e2e_s - metrics.queue_s)
        self._observe("request_prefill_time_seconds", metrics.ttft_s - metrics.queue_s)
        self._observe("request_decode_time_seconds", metrics.e2e_s - metrics.ttft_s)
        for gap_s in metrics.itl_s:
            self._observe("inter_token_latency_seconds", gap_s)

    def _observe(self, name: str, value: float) -> None:
        self._histograms[name].labels(self._model).observe(value)


class EngineCollector(Collector):
    """The engine's gauges and counters."""

    def __init__(self, engine: ServedEngine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        stats = self._engine.stats()
        yield self._gauge("num_requests_running", "Requests in the batch.", stats.running)
        yield self._gauge("num_requests_waiting", "Requests in the queue.", stats.waiting)
        yield self._gauge("kv_cache_usage_perc", "Share of K/V blocks in use, 0 to 1.", stats.kv_usage)
        yield self._counter("num_preemptions", "Requests put back into the queue.", stats.num_preemptions)
        yield self._counter("prompt_tokens", "Prompt tokens processed.", stats.prompt_tokens)
        yield self._counter("generation_tokens", "Tokens generated.", stats.generation_tokens)
        yield self._counter("prefix_cache_queries", "Prompt tokens looked up.", stats.prefix_queries)
        yield self._counter("prefix_cache_hits", "Prompt tokens found.", stats.prefix_hits)
        yield self._counter(
            "prefix_cache_hit_requests", "Requests of which something was found.", stats.prefix_hit_requests
        )
        yield self._counter("prefix_cache_evictions", "Blocks evicted.", stats.prefix_evictions)
        yield self._counter("offload_spilled_blocks", "Evicted blocks kept.", stats.offload_spilled_blocks)
        yield self._counter("offload_loaded_tokens", "Prompt tokens read back.", stats.offload_loaded_tokens)
        yield self._counter("spec_decode_num_draft_tokens", "Tokens guessed ahead.", stats.draft_tokens)
        yield self._counter("spec_decode_num_accepted_tokens", "Of them, right.", stats.accepted_tokens)
        yield from self._requests(stats.requests)

    def _requests(self, counts: Counts) -> Iterator[Metric]:
        """arrived = finished + aborted + refused + in flight, and Little's law: redline/engine/ledger.py."""
        yield self._counter("requests_arrived", "Requests that came.", counts.arrived)
        yield self._counter("requests_finished", "Requests answered in full.", counts.finished)
        yield self._counter("requests_aborted", "Requests ended early.", counts.aborted)
        yield self._counter("requests_refused", "Requests turned away.", counts.refused)
        yield self._gauge("requests_in_flight", "Requests waiting or running.", counts.in_flight)
        yield self._gauge("requests_in_flight_mean", "The same, over all time.", counts.mean_in_flight)
        yield self._gauge("request_residence_seconds_mean", "Spent here so far.", counts.mean_s)

    def _gauge(self, name: str, text: str, value: float) -> Metric:
        family = GaugeMetricFamily(f"redline:{name}", text, labels=["model_name"])
        family.add_metric([self._engine.model_name], value)
        return family

    def _counter(self, name: str, text: str, value: float) -> Metric:
        family = CounterMetricFamily(f"redline:{name}", text, labels=["model_name"])
        family.add_metric([self._engine.model_name], value)
        return family


class AliasCollector(Collector):
    """Every `redline:` metric, and the same again as `vllm:`."""

    def __init__(self, own: CollectorRegistry) -> None:
        self._own = own

    def collect(self) -> Iterator[Metric]:
        for family in self._own.collect():
            yield _renamed(family, family.name)
            yield _renamed(family, family.name.replace("redline:", "vllm:", 1))


def _renamed(family: Metric, name: str) -> Metric:
    """A copy under another name, without the creation times that nobody graphs."""
    copy = Metric(name, family.documentation, family.type)
    copy.samples = [
        sample._replace(name=name + sample.name.removeprefix(family.name))
        for sample in family.samples
        if not sample.name.endswith("_created")
    ]
    return copy
