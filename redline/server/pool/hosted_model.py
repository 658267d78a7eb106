"""HostedModel: one model of a pool, loaded or not, and the requests that hold it or wait for it."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, cast

from starlette.types import ASGIApp

from redline.server.config import ServerConfig
from redline.server.engine import ServedEngine
from redline.server.errors import HTTPError, unavailable
from redline.server.metrics import ModelMetrics, ServerMetrics
from redline.server.pool.entry import ModelEntry
from redline.server.pool.hosted_engine import HostedEngine
from redline.server.pool.lease import Lease
from redline.server.pool.readiness import ModelReadiness
from redline.server.readiness import Readiness
from redline.server.response_store import ResponseStore
from redline.server.running import RunningRequests
from redline.server.service import Service

RETRY_S = 10  # after a failure to load, before the next try

State = Literal["unloaded", "loading", "loaded", "unloading"]
Endpoints = Callable[[Service], dict[str, ASGIApp]]


@dataclass(frozen=True, slots=True)
class Shared:
    """What all models of a server have in common."""

    config: ServerConfig
    running: RunningRequests
    readiness: Readiness
    responses: ResponseStore
    metrics: ServerMetrics
    endpoints: Endpoints


class HostedModel:
    """Its service (limits, queue, metrics) lives as long as the server, its endpoints as its engine."""

    def __init__(self, entry: ModelEntry, shared: Shared) -> None:
        self.entry = entry
        self.state: State = "unloaded"
        self.leaving = False  # takes no new requests: another model wants its place
        self.in_use = 0  # requests that hold it
        self.waiting: OrderedDict[Lease, None] = OrderedDict()  # the oldest first
        self.loaded_s = self.load_s = self.idle_s = 0.0
        self.retry_s = -math.inf  # it could not be loaded, and before this nobody tries again
        self.engine = HostedEngine(entry.name)
        own = replace(
            shared.config,
            aliases=entry.aliases,
            tool_call_parser=entry.tool_call_parser,
            reasoning_parser=entry.reasoning_parser,
        )
        watched = ModelReadiness(shared.readiness, own.step_timeout_s)
        self.service = Service(
            self._served,
            own,
            shared.running,
            watched,
            ModelMetrics(shared.metrics, entry.name),
            shared.responses,
        )
        self._metrics = shared.metrics
        self._metrics.add_queue(entry.name, lambda: len(self.waiting))
        self._make_endpoints = shared.endpoints
        self._endpoints: dict[str, ASGIApp] = {}

    @property
    def name(self) -> str:
        """What it is called in metrics and messages."""
        return self.entry.name

    @property
    def num_bytes(self) -> int:
        """What it takes while it is in memory."""
        return self.entry.num_bytes

    @property
    def in_memory(self) -> bool:
        """Whether its bytes are taken."""
        return self.state != "unloaded"

    @property
    def serving(self) -> bool:
        """Whether a request may have it now."""
        return self.state == "loaded" and not self.leaving and self.engine.healthy

    def app(self, path: str) -> ASGIApp:
        """The endpoint of a route; only while it is held."""
        return self._endpoints[path]

    def open(self, engine: ServedEngine, loaded_s: float, load_s: float) -> None:
        """It was loaded at `loaded_s`, which took `load_s`."""
        self.engine.put(engine)
        self._metrics.ask(self._served, self.service.readiness)
        self._endpoints = self._make_endpoints(self.service)
        self.state = "loaded"
        self.loaded_s = self.idle_s = loaded_s
        self.load_s = load_s

    @property
    def _served(self) -> ServedEngine:
        return cast(ServedEngine, self.engine)

    def take_engine(self) -> ServedEngine:
        """Nobody holds it, and nobody will: its engine, to be closed."""
        assert self.in_use == 0, f"{self.name}: {self.in_use = }"
        self._endpoints = {}
        self.state, self.leaving = "unloading", False
        return self.engine.take()

    def grant_all(self) -> None:
        """All that wait have it now."""
        while self.waiting:
            lease, _ = self.waiting.popitem(last=False)
            lease.grant()

    def fail_all(self) -> None:
        """It could not be loaded; all that wait hear of it."""
        while self.waiting:
            lease, _ = self.waiting.popitem(last=False)
            lease.fail(load_failed(self.name))


def load_failed(name: str) -> HTTPError:
    """503: others of this server's models are not concerned."""
    reason = f"model {name!r} could not be loaded; the log of the server says why"
    return unavailable(reason, "model_load_failed", RETRY_S)
