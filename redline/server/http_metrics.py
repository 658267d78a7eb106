"""HttpMetrics: requests by path and status, and how long they took.

Both labels have few values, whatever clients send: a path is that of a route, or "other", the status is ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.routing import Route
from starlette.types import Scope

from redline.server.request_record import RequestRecord

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
OTHER = "other"
CLIENT_LEFT = 499  # before there was a status


class HttpMetrics(Collector):
    """Counts what the outermost layer sees, from the start of the process on."""

    def __init__(self) -> None:
        self._own = CollectorRegistry()
        self._requests = Counter(
            "redline:http_requests", "Requests, by route and status.", ["path", "status"], registry=self._own
        )
        self._seconds = Histogram(
            "redline:http_request_duration_seconds",
            "From the headers of a request to the end of its answer.",
            ["path"],
            buckets=SECONDS,
            registry=self._own,
        )
        self._routes: Sequence[Route] = ()

    def know(self, routes: Sequence[Route]) -> None:
        """From now on requests are told apart by these; before, all are "other"."""
        self._routes = routes

    def count(self, scope: Scope, record: RequestRecord) -> None:
        """A request is over."""
        path = self._label(scope["path"])
        self._requests.labels(path, str(record.status or CLIENT_LEFT)).inc()
        self._seconds.labels(path).observe(record.duration_s or 0.0)

    def collect(self) -> Iterator[Metric]:
        return iter(self._own.collect())

    def _label(self, path: str) -> str:
        return next((route.path for route in self._routes if route.path_regex.match(path)), OTHER)
