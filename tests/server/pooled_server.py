"""PooledServer: the real server in front of several models, in a thread of its own."""

from __future__ import annotations

import asyncio
from typing import Any

from redline.server.draining import DrainingServer
from redline.server.listening import listening_socket, url_of
from redline.server.pool.config import PoolConfig
from redline.server.pool.entry import ModelEntry
from tests.server.fake_engine import FakeEngine
from tests.server.running_server import RunningServer, eventually

MIB = 2**20


class FakeSource:
    """Opens fake engines. While `held` loading takes for ever; `broken` is raised instead."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.engines: list[FakeEngine] = []
        self.closed: list[FakeEngine] = []
        self.held = False
        self.broken: Exception | None = None
        self.tries = 0

    @property
    def engine(self) -> FakeEngine:
        return self.engines[-1]

    async def open(self) -> FakeEngine:
        self.tries += 1
        while self.held:
            await asyncio.sleep(0.002)
        if self.broken is not None:
            raise self.broken
        self.engines.append(FakeEngine(**self.options))
        return self.engine

    async def close(self, engine: FakeEngine) -> None:
        assert not engine.running and not engine.waiting, "unloaded while it answers somebody"
        self.closed.append(engine)

    def give_back(self) -> None:
        pass


def entry(name: str, source: Any, num_bytes: int = MIB, **options: Any) -> ModelEntry:
    """A model of the size of a fake engine's context."""
    fields = {"max_context": FakeEngine.max_context, "embedding_size": FakeEngine.embedding_size}
    return ModelEntry(name=name, source=source, num_bytes=num_bytes, **{**fields, **options})


class PooledServer(RunningServer):
    """Use it in a `with` block; leaving drains, unloads and joins the thread."""

    def __init__(
        self,
        entries: list[ModelEntry],
        *,
        preload: int = 0,
        limits: PoolConfig | None = None,
        **config: Any,
    ) -> None:
        super().__init__(object(), **config)
        self.entries = entries
        self.preload = preload
        self.limits = limits or PoolConfig(memory_bytes=MIB, residency_s=0.0)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.server = DrainingServer(None, self.config)
        with listening_socket(self.config) as listener:
            self.pool = self.server.pool(self.entries, self.limits)
            await self.pool.preload(self.preload)
            self.server.ready_with(self.pool)
            self._announce(url_of(listener, self.config))
            await self.server.serve(sockets=[listener])
        await self.pool.close()

    def states(self) -> list[str]:
        return [model.state for model in self.pool.models]

    def waiting(self, name: str) -> int:
        return len(self.pool.find(name).waiting)

    def until_waiting(self, name: str, count: int = 1) -> None:
        eventually(lambda: self.waiting(name) == count, f"{count} wait for {name}")
