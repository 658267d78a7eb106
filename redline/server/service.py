"""Service: what all endpoints of one server share."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from redline.server.config import ServerConfig
from redline.server.engine import ServedEngine
from redline.server.errors import HTTPError, engine_dead
from redline.server.job import Job
from redline.server.merge import merge
from redline.server.metrics import ServerMetrics
from redline.server.running import RunningRequests
from redline.server.waiting import Place, WaitingRoom

if TYPE_CHECKING:
    from redline.engine.outputs import Delta


class Service:
    """One engine, its limits and its metrics."""

    def __init__(
        self, engine: ServedEngine, config: ServerConfig, running: RunningRequests | None = None
    ) -> None:
        self.engine = engine
        self.config = config
        self.running = RunningRequests() if running is None else running
        self.waiting = WaitingRoom(config.max_waiting)
        self.metrics = ServerMetrics(engine)

    @property
    def model_names(self) -> tuple[str, ...]:
        """The names requests may use; the first is the model's own."""
        return tuple(dict.fromkeys((self.engine.model_name, *self.config.aliases)))

    def check_model(self, name: str) -> None:
        """Raises HTTPError 404 when no model has this name."""
        if name not in self.model_names:
            raise HTTPError(
                404,
                f"model is {name[:100]!r}; this server has {', '.join(self.model_names)}",
                param="model",
                code="model_not_found",
            )

    def check_healthy(self) -> None:
        """Raises HTTPError 503 when the engine has stopped."""
        if not self.engine.healthy:
            raise engine_dead()

    async def deltas(self, job: Job, place: Place) -> AsyncGenerator[tuple[int, Delta], None]:
        """The deltas of all prompts of a job, each with the number of its prompt.

        Closing it aborts what still runs. The client's `place` ends prompt by prompt with the first delta.
        """
        streams = [
            self.engine.stream(prompt, job.params, request_id=f"{job.id}-{number}", cache_salt=job.cache_salt)
            for number, prompt in enumerate(job.prompts)
        ]
        async with aclosing(merge(streams)) as merged:
            async for number, delta in merged:
                place.started(number)
                self.metrics.delta(delta, job.params)
                yield number, delta
