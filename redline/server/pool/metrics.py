"""PoolMetrics: how models came and went."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from redline.server.pool.pool import ModelPool

LOAD_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320)


class PoolMetrics:
    """Labels hold the names that the operator gave the models."""

    def __init__(self, pool: ModelPool, registry: CollectorRegistry) -> None:
        by_model = ["model_name"]
        self._load_s = Histogram(
            "redline:model_load_seconds",
            "To load a model.",
            by_model,
            buckets=LOAD_SECONDS,
            registry=registry,
        )
        self._failures = Counter(
            "redline:model_load_failures", "Models that did not load.", by_model, registry=registry
        )
        self._unloads = Counter(
            "redline:model_unloads", "Models unloaded, by reason.", [*by_model, "reason"], registry=registry
        )
        registry.register(_Gauges(pool))

    def loaded(self, name: str, seconds: float) -> None:
        """A model was loaded; the histogram's count is the number of loads."""
        self._load_s.labels(name).observe(seconds)

    def load_failed(self, name: str) -> None:
        """A model could not be loaded."""
        self._failures.labels(name).inc()

    def unloaded(self, name: str, reason: str) -> None:
        """A model was unloaded: evicted, idle, broken, or at the shutdown."""
        self._unloads.labels(name, reason).inc()


class _Gauges(Collector):
    def __init__(self, pool: ModelPool) -> None:
        self._pool = pool

    def collect(self) -> Iterator[Metric]:
        loaded = _gauge("model_loaded", "1 while the model is in memory, else 0.", ["model_name"])
        waiting = _gauge("model_requests_waiting_for_load", "Requests that wait for it.", ["model_name"])
        for model in self._pool.models:
            loaded.add_metric([model.name], model.state == "loaded")
            waiting.add_metric([model.name], len(model.waiting))
        taken = _gauge("models_memory_bytes", "Predicted, of the models in memory.")
        taken.add_metric([], self._pool.num_bytes)
        limit = _gauge("models_memory_limit_bytes", "What they may take.")
        limit.add_metric([], self._pool.memory_bytes)
        yield from (loaded, waiting, taken, limit)


def _gauge(name: str, text: str, labels: list[str] | None = None) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"redline:{name}", text, labels=labels or [])
