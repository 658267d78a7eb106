"""Prometheus metrics: own names, and vLLM's names for dashboards and autoscalers that exist already.

Labels hold the names of served models and values from fixed sets, never anything a client sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from redline.core.distribution import Distribution
from redline.server.engine import ServedEngine
from redline.server.engine_metrics import EngineCollector, histogram
from redline.server.http_metrics import HttpMetrics
from redline.server.readiness import Readiness

if TYPE_CHECKING:
    from redline.config.sampling import SamplingParams
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
WIRE_SECONDS = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0015,
    0.002,
    0.003,
    0.004,
    0.005,
    0.0075,
    0.01,
    0.02,
    0.05,
    0.25,
)
TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000)
COUNTS = (0, 1, 2, 5, 10, 20, 50, 100)

HISTOGRAMS: dict[str, tuple[str, tuple[float, ...]]] = {
    "request_prompt_tokens": ("Prompt tokens of a request.", TOKENS),
    "request_prefill_kv_computed_tokens": ("Prompt tokens of a request that were not found cached.", TOKENS),
    "request_generation_tokens": ("Generated tokens of a request.", TOKENS),
    "request_params_n": ("Answers asked for per prompt.", COUNTS),
    "request_params_max_tokens": ("Limit of generated tokens asked for.", TOKENS),
    "request_num_preemptions": ("How often a request lost its place in the batch.", COUNTS),
    "time_to_first_token_seconds": ("From arrival to the first token.", SECONDS),
    "request_time_per_output_token_seconds": ("Mean per token after the first.", STEP_SECONDS),
    "e2e_request_latency_seconds": ("From arrival to the last token.", LONG_SECONDS),
    "request_queue_time_seconds": ("From arrival to the first step.", LONG_SECONDS),
    "request_inference_time_seconds": ("From the first step to the last token.", LONG_SECONDS),
    "request_prefill_time_seconds": ("From the first step to the first token.", LONG_SECONDS),
    "request_decode_time_seconds": ("From the first token to the last.", LONG_SECONDS),
}
# Once for each token, so without what a Histogram does for several threads.
PER_TOKEN: dict[str, tuple[str, tuple[float, ...]]] = {
    "inter_token_latency_seconds": ("Between consecutive tokens.", STEP_SECONDS),
    "step_to_wire_seconds": ("From drawing a streamed token to handing it to its socket.", WIRE_SECONDS),
}
# Each with the values that its label has; "": it has none.
COUNTERS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "request_success": ("Answers that ended, by reason.", "finished_reason", ("stop", "length", "abort")),
    "http_requests_client_disconnected": ("Requests whose client left first.", "", ()),
    "prompt_tokens_cached": ("Prompt tokens of finished requests that were found cached.", "", ()),
    "prompt_tokens_by_source": (
        "Prompt tokens of finished requests, by where from.",
        "source",
        ("local_cache_hit", "local_compute"),
    ),
}
# Those that vLLM has too, with the same meaning: they come once more under its name.
VLLM = frozenset(HISTOGRAMS) | {
    "inter_token_latency_seconds",
    "request_success",
    "http_requests_client_disconnected",
    "num_requests_running",
    "num_requests_waiting",
    "kv_cache_usage_perc",
    "num_preemptions",
    "prompt_tokens",
    "prompt_tokens_cached",
    "prompt_tokens_by_source",
    "generation_tokens",
    "iteration_tokens_total",
    "prefix_cache_queries",
    "prefix_cache_hits",
    "spec_decode_num_draft_tokens",
    "spec_decode_num_accepted_tokens",
    "cache_config_info",
    "lora_requests_info",
}  # fmt: skip


class ServerMetrics:
    """All that one process tells Prometheus, with a label for each model that it serves."""

    def __init__(self, readiness: Readiness, http: HttpMetrics | None = None) -> None:
        self.http = HttpMetrics() if http is None else http
        self._engines = EngineCollector(readiness)
        self.registry = own = CollectorRegistry()  # where parts of the server add what they count
        own.register(self._engines)
        self.histograms = {
            name: Histogram(f"redline:{name}", text, ["model_name"], buckets=buckets, registry=own)
            for name, (text, buckets) in HISTOGRAMS.items()
        }
        self.counters = {
            name: Counter(
                f"redline:{name}", text, ["model_name", label] if label else ["model_name"], registry=own
            )
            for name, (text, label, _) in COUNTERS.items()
        }
        self.per_token: dict[str, dict[str, Distribution]] = {name: {} for name in PER_TOKEN}
        own.register(PerToken(self.per_token))
        own.register(self.http)
        self._told = CollectorRegistry()
        self._told.register(AliasCollector(own))
        ProcessCollector(registry=self._told)

    def of(self, engine: ServedEngine) -> ModelMetrics:
        """The metrics of one model, whose engine is asked for its own numbers from now on."""
        self.ask(engine)
        return ModelMetrics(self, engine.model_name)

    def ask(self, engine: ServedEngine, readiness: Readiness | None = None) -> None:
        """For its own numbers, from now on, and its own readiness; it may be said again."""
        self._engines.add(engine, readiness)

    def add_queue(self, model_name: str, num_waiting: Callable[[], int]) -> None:
        """Requests that wait for a model before its engine has them, or while it has none."""
        self._engines.add_queue(model_name, num_waiting)

    def render(self) -> bytes:
        """All metrics in Prometheus text format."""
        return generate_latest(self._told)


class ModelMetrics:
    """Counts what passes through the server for one model; series are looked up once, not for each value."""

    def __init__(self, server: ServerMetrics, model_name: str) -> None:
        self._server = server
        self._model = model_name
        self._histograms = {name: each.labels(model_name) for name, each in server.histograms.items()}
        for name, (_, _, values) in COUNTERS.items():  # from 0 on: a rate needs a value before the first
            for value in values:
                self._count(name, 0, value)
            if not values:
                self._count(name, 0)
        self._gaps, self._wire = (
            server.per_token[name].setdefault(model_name, Distribution(bounds))
            for name, (_, bounds) in PER_TOKEN.items()
        )

    def render(self) -> bytes:
        """The metrics of the whole process."""
        return self._server.render()

    def written(self, delta: Delta) -> None:
        """What a delta said was handed to the socket of its client."""
        if delta.time_s is not None:
            self._wire.add(time.perf_counter() - delta.time_s)

    def delta(self, delta: Delta, params: SamplingParams) -> None:
        """Something came back; the histograms take a request when it is over."""
        if delta.finish_reason is not None:
            self._count("request_success", 1, delta.finish_reason)
        if delta.metrics is not None:
            self._request(delta.metrics)
            self._observe("request_params_n", params.n)
            if params.max_tokens is not None:
                self._observe("request_params_max_tokens", params.max_tokens)

    def aborted(self, count: int) -> None:
        """So many answers were ended before their end: the client left, or its time was over."""
        self._count("request_success", count, "abort")

    def client_gone(self) -> None:
        """A client left before its answer was complete."""
        self._count("http_requests_client_disconnected")

    def _request(self, metrics: RequestMetrics) -> None:
        computed, cached = metrics.num_prompt_tokens - metrics.num_cached_tokens, metrics.num_cached_tokens
        self._count("prompt_tokens_cached", cached)
        self._count("prompt_tokens_by_source", cached, "local_cache_hit")
        self._count("prompt_tokens_by_source", computed, "local_compute")
        self._observe("request_prompt_tokens", metrics.num_prompt_tokens)
        self._observe("request_prefill_kv_computed_tokens", computed)
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
            self._gaps.add(gap_s)

    def _count(self, name: str, value: float = 1, *labels: str) -> None:
        self._server.counters[name].labels(self._model, *labels).inc(value)

    def _observe(self, name: str, value: float) -> None:
        self._histograms[name].observe(value)


class PerToken(Collector):
    """Distributions by metric and model."""

    def __init__(self, distributions: dict[str, dict[str, Distribution]]) -> None:
        self._distributions = distributions

    def collect(self) -> Iterator[Metric]:
        for name, by_model in self._distributions.items():
            yield histogram(name, PER_TOKEN[name][0], by_model)


class AliasCollector(Collector):
    """Every `redline:` metric, and those that vLLM has again as `vllm:`."""

    def __init__(self, own: CollectorRegistry) -> None:
        self._own = own

    def collect(self) -> Iterator[Metric]:
        for family in self._own.collect():
            yield renamed(family, family.name)
            name = family.name.removeprefix("redline:")
            if name in VLLM:
                yield renamed(family, f"vllm:{name}")


def renamed(family: Metric, name: str) -> Metric:
    """A copy under another name, without the creation times that nobody graphs."""
    copy = Metric(name, family.documentation, family.type)
    copy.samples = [
        sample._replace(name=name + sample.name.removeprefix(family.name))
        for sample in family.samples
        if not sample.name.endswith("_created")
    ]
    return copy
