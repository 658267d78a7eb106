"""ModelPool: several models in one process, loaded when they are asked for, unloaded when room is needed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from typing import Any

from redline.errors import ConfigError
from redline.server.config import ServerConfig
from redline.server.errors import HTTPError, unavailable
from redline.server.keys import ApiKey
from redline.server.metrics import ServerMetrics
from redline.server.pool.config import PoolConfig
from redline.server.pool.entry import ModelEntry
from redline.server.pool.hosted_model import RETRY_S, Endpoints, HostedModel, Shared, load_failed
from redline.server.pool.lease import Lease
from redline.server.pool.metrics import PoolMetrics
from redline.server.pool.residency import Room, leaves_at_s, victims
from redline.server.readiness import Readiness
from redline.server.response_store import ResponseStore
from redline.server.running import RunningRequests
from redline.server.service import Service, model_not_found

logger = logging.getLogger("redline.server")


class ModelPool:
    """All on one event loop; only loading and unloading happen elsewhere, one model at a time.

    A request holds a lease on its model. One for a model that is not in memory waits, and the model whose
    request has waited for longest is loaded next. When it does not fit, others leave (residency.py): they
    take no new requests, finish those they have, and go. What comes for them meanwhile waits for them to come
    back. So no request fails because of another model, and none waits for ever.
    """

    def __init__(
        self,
        entries: Sequence[ModelEntry],
        config: PoolConfig,
        server_config: ServerConfig,
        endpoints: Endpoints,
        running: RunningRequests,
        readiness: Readiness,
        metrics: ServerMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises ConfigError when two models have one name, or one can never be loaded."""
        self.running = running
        self.responses = ResponseStore()
        self.metrics = metrics
        self._moves = PoolMetrics(self, metrics.registry)
        self.server_config = server_config
        self._config = config
        self._clock = clock
        self._readiness = readiness
        self._room = Room(config.memory_bytes, config.max_loaded)
        shared = Shared(server_config, running, readiness, self.responses, metrics, endpoints)
        self.models = [HostedModel(entry, shared) for entry in entries]
        self._by_name = _by_name(self.models)
        _check_each_fits(self.models, self._room)
        self._moving: asyncio.Task[None] | None = None  # loads or unloads
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def healthy(self) -> bool:
        """An engine that has stopped is unloaded, and loaded again by the next request."""
        return True

    @property
    def stalled_s(self) -> float:
        """The longest that any engine has ended no step."""
        return max(model.engine.stalled_s for model in self.models)

    @property
    def num_bytes(self) -> int:
        """What the models in memory take, as predicted."""
        return sum(model.num_bytes for model in self.models if model.in_memory)

    @property
    def memory_bytes(self) -> int:
        """What they may take."""
        return self._room.num_bytes

    @property
    def moving(self) -> bool:
        """Whether a model is being loaded or unloaded."""
        return self._moving is not None

    def check_healthy(self) -> None:
        """Raises HTTPError 503 when nothing new is taken."""
        self._readiness.check()

    def check_room(self, caller: ApiKey) -> None:
        """Raises HTTPError 429 when the queues of all models are full: overload must not fill the memory."""
        for model in self.models[:-1]:
            with suppress(HTTPError):
                model.service.waiting.check(1, caller)
                return
        self.models[-1].service.waiting.check(1, caller)

    def find(self, name: str) -> HostedModel:
        """The model of that name. Raises HTTPError 404."""
        if name not in self._by_name:
            raise model_not_found(name, self._by_name)
        return self._by_name[name]

    def watched(self, name: str | None) -> Service:
        """What serves the model of that name, or the first. Raises HTTPError: a look loads no model."""
        model = self.models[0] if name is None else self.find(name)
        if not model.engine.loaded:
            raise unavailable(f"model {model.name!r} is not loaded; the next request loads it", "not_loaded")
        return model.service

    def explain(self, request_id: str) -> list[list[str]] | None:
        """What happened to a request; None: it is not known, or its model has been unloaded since."""
        found = (model.engine.explain(request_id) for model in self.models)
        return next((choices for choices in found if choices is not None), None)

    def ask(self, model: HostedModel) -> Lease:
        """A hold on `model`, at once or later. End it."""
        now_s = self._clock()
        lease = Lease(self, model, now_s)
        if now_s < model.retry_s:
            lease.fail(load_failed(model.name))
        elif model.serving:
            lease.grant()
        else:
            model.waiting[lease] = None
            self._turn()
        return lease

    def ended(self, lease: Lease) -> None:
        """A lease is over: held, waiting, or failed."""
        model = lease.model
        if lease.granted:
            model.in_use -= 1
            model.idle_s = self._clock()
        model.waiting.pop(lease, None)
        self._turn()

    async def preload(self, count: int) -> None:
        """Load the first `count` models. Raises ConfigError when they do not fit, and what loading raises."""
        first = self.models[:count]
        if not self._room.holds(first):
            raise ConfigError(
                f"the first {count} models do not fit in memory together; lower preload, or raise what they "
                "may take"
            )
        for model in first:
            await self._open(model)

    async def close(self) -> None:
        """Unload everything; nothing is in use any more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._moving is not None:
            await self._moving
        for model in self.models:
            if model.state == "loaded":
                await self._unload(model, "shutdown")

    def _turn(self) -> None:
        """Do what can be done now; called whenever something has changed."""
        if self._closed:
            return
        now_s = self._clock()
        going = self._going(now_s)
        for model in self.models:
            model.leaving = model in going
            if model.serving:
                model.grant_all()
        if self._moving is None:
            self._move(going)
        self._wake_up(now_s)

    def _going(self, now_s: float) -> dict[HostedModel, str]:
        """Loaded models that take no new requests, and why."""
        going = {model: "broken" for model in self._loaded() if not model.engine.healthy}
        wanted = self._wanted()
        if wanted is not None:
            evicted = self._victims(wanted)
            going |= {
                model: "evicted" for model in evicted if leaves_at_s(model, self._config.residency_s) <= now_s
            }
        idle_s = self._config.idle_unload_s
        if idle_s is not None:
            idle = (model for model in self._loaded() if not model.in_use and not model.waiting)
            going |= {
                model: "idle" for model in idle if model.idle_s + idle_s <= now_s and model not in going
            }
        return going

    def _victims(self, wanted: HostedModel) -> list[HostedModel]:
        staying = [model for model in self.models if model.state == "loading"]
        return victims(wanted, self._loaded(), staying, self._room)

    def _loaded(self) -> list[HostedModel]:
        return [model for model in self.models if model.state == "loaded"]

    def _wanted(self) -> HostedModel | None:
        """The model whose request has waited for longest, of those that nothing brings back yet."""
        missing = [
            model for model in self.models if model.waiting and model.state in ("unloaded", "unloading")
        ]
        return min(missing, key=lambda model: next(iter(model.waiting)).asked_s, default=None)

    def _move(self, going: dict[HostedModel, str]) -> None:
        """Begin to unload or to load one model."""
        free = next((model for model in going if not model.in_use), None)
        if free is not None:
            self._start(self._unload(free, going[free]))
            return
        wanted = self._wanted()
        present = [model for model in self.models if model.in_memory]
        if wanted is not None and self._room.holds([*present, wanted]):
            self._start(self._load(wanted))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._moving = asyncio.create_task(work)
        self._moving.add_done_callback(self._moved)

    def _moved(self, task: asyncio.Task[None]) -> None:
        self._moving = None
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("moving a model failed because of a bug", exc_info=error)
        self._turn()

    async def _load(self, model: HostedModel) -> None:
        """Load it; those who wait for it hear how it went."""
        try:
            await self._open(model)
        except Exception as error:  # whatever it was, it concerns this model's requests alone
            logger.error("model %s could not be loaded: %s", model.name, error, exc_info=error)
            self._moves.load_failed(model.name)
            model.retry_s = self._clock() + RETRY_S
            model.fail_all()
        else:
            model.grant_all()  # before another model may want its place

    async def _open(self, model: HostedModel) -> None:
        model.state = "loading"
        start_s = self._clock()
        try:
            engine = await model.entry.source.open()
        except BaseException:
            model.state = "unloaded"
            raise
        now_s = self._clock()
        model.open(engine, now_s, now_s - start_s)
        self._moves.loaded(model.name, model.load_s)
        logger.info("loaded %s in %.2f s", model.name, model.load_s)

    async def _unload(self, model: HostedModel, reason: str) -> None:
        source = model.entry.source
        try:
            await source.close(model.take_engine())
            await asyncio.to_thread(source.give_back)
        finally:
            model.state = "unloaded"
        self._moves.unloaded(model.name, reason)
        logger.info("unloaded %s: %s", model.name, reason)

    def _wake_up(self, now_s: float) -> None:
        """Take another turn when time alone will have changed something."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        later = [at_s for at_s in self._times() if at_s > now_s]
        if later:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(min(later) - now_s, self._turn)

    def _times(self) -> Iterable[float]:
        wanted = self._wanted()
        if wanted is not None:
            yield from (leaves_at_s(model, self._config.residency_s) for model in self._victims(wanted))
        if self._config.idle_unload_s is not None:
            idle = (model for model in self._loaded() if not model.in_use)
            yield from (model.idle_s + self._config.idle_unload_s for model in idle)


def _by_name(models: Sequence[HostedModel]) -> dict[str, HostedModel]:
    found: dict[str, HostedModel] = {}
    for model in models:
        for name in model.entry.names:
            if name in found:
                raise ConfigError(f"two models are called {name!r}; give each a name of its own")
            found[name] = model
    return found


def _check_each_fits(models: Sequence[HostedModel], room: Room) -> None:
    for model in models:
        if not room.holds([model]):
            raise ConfigError(
                f"model {model.name!r} takes {model.num_bytes} bytes, and all models together may take "
                f"{room.num_bytes}; raise that, or choose a smaller model"
            )
