"""Service: what all endpoints of one server share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVar

from redline.server.config import ServerConfig
from redline.server.engine import ServedEngine
from redline.server.errors import HTTPError
from redline.server.job import Job
from redline.server.latest import LatestRequests
from redline.server.merge import merge
from redline.server.metrics import ModelMetrics, ServerMetrics
from redline.server.readiness import Readiness
from redline.server.response_store import ResponseStore
from redline.server.running import RunningRequests
from redline.server.waiting import Place, WaitingRoom

if TYPE_CHECKING:
    from redline.engine.outputs import Delta

A = TypeVar("A")
T = TypeVar("T")


class Service:
    """One engine, its limits and its metrics."""

    def __init__(
        self,
        engine: ServedEngine,
        config: ServerConfig,
        running: RunningRequests | None = None,
        readiness: Readiness | None = None,
        metrics: ModelMetrics | None = None,
        responses: ResponseStore | None = None,
    ) -> None:
        self.engine = engine
        self.config = config
        self.running = RunningRequests() if running is None else running
        self.waiting = WaitingRoom(config.max_waiting, config.max_queued_tokens)
        self.readiness = Readiness(config.step_timeout_s) if readiness is None else readiness
        self.readiness.loaded(engine)
        self.responses = ResponseStore() if responses is None else responses
        self.metrics = ServerMetrics(self.readiness).of(engine) if metrics is None else metrics
        self.latest = LatestRequests()
        self._aside = ThreadPoolExecutor(1, thread_name_prefix="redline-aside")

    @property
    def model_names(self) -> tuple[str, ...]:
        """The names requests may use; the first is the model's own."""
        return tuple(dict.fromkeys((self.engine.model_name, *self.config.aliases)))

    def check_model(self, name: str) -> None:
        """Raises HTTPError 404 when no model has this name."""
        if name not in self.model_names:
            raise model_not_found(name, self.model_names)

    def named(self, model: str | None) -> Service:
        """This, if the model has that name or none is given. Raises HTTPError 404."""
        if model is not None:
            self.check_model(model)
        return self

    def check_healthy(self) -> None:
        """Raises HTTPError 503 when nothing new is taken."""
        self.readiness.check()

    async def aside(self, function: Callable[[A], T], argument: A) -> T:
        """Compute something beside the engine, in the one thread for that. What it raises is raised here."""
        return await asyncio.get_running_loop().run_in_executor(self._aside, function, argument)

    async def deltas(self, job: Job, place: Place) -> AsyncGenerator[tuple[int, Delta], None]:
        """The deltas of all prompts of a job, each with the number of its prompt.

        Closing it aborts what still runs. The client's `place` ends prompt by prompt with the first delta.
        """
        self.latest.came(job)
        streams = [
            self.engine.stream(
                prompt,
                job.params_of(number),
                request_id=job.engine_id(number),
                priority=job.priority,
                tenant=job.tenant,
                cache_salt=job.cache_salt,
                shortcut=job.shortcut if len(job.prompts) == 1 else None,
            )
            for number, prompt in enumerate(job.prompts)
        ]
        num_open = job.num_choices
        try:
            async with aclosing(merge(streams)) as merged:
                async for number, delta in merged:
                    place.started(number)
                    self.metrics.delta(delta, job.params)
                    num_open -= delta.finish_reason is not None
                    if delta.metrics is not None:
                        self.latest.ended(delta.metrics)
                    job.record.count(delta)
                    yield number, delta
        except (asyncio.CancelledError, GeneratorExit):
            self.metrics.aborted(num_open)
            raise


def model_not_found(name: str, names: Iterable[str]) -> HTTPError:
    """404: no model is called `name`; those that there are have `names`."""
    return HTTPError(
        404,
        f"model is {name[:100]!r}; this server has {', '.join(names)}",
        param="model",
        code="model_not_found",
    )
