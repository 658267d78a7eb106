"""RunningRequests: ends a request's work when its client leaves or the server must stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.types import Receive


class ClientGone(Exception):
    """The client closed the connection; there is nobody to answer."""


class Stopping(Exception):
    """The server's time to drain is over."""


class RunningRequests:
    """The requests in work, so that each can be ended from outside at any await.

    Ending means cancelling the request's task inside the `with` block, where the engine's iterator is
    closed on the way out; the block then raises ClientGone or Stopping instead of CancelledError.
    """

    def __init__(self) -> None:
        self._running: dict[asyncio.Task[object], type[Exception] | None] = {}

    def __len__(self) -> int:
        return len(self._running)

    def stop_all(self) -> None:
        """End every request with Stopping."""
        for task in list(self._running):
            self._end(task, Stopping)

    @asynccontextmanager
    async def until_gone(self, receive: Receive) -> AsyncIterator[None]:
        """Runs its block until the client is gone. The request's body has been read before."""
        task = asyncio.current_task()
        assert task is not None and task not in self._running, f"{task = }"
        self._running[task] = None
        watcher = asyncio.create_task(self._watch(receive, task))
        try:
            yield
        except asyncio.CancelledError:
            reason = self._running[task]
            if reason is None or task.uncancel() > 0:
                raise
            raise reason from None
        finally:
            del self._running[task]
            watcher.cancel()
            with suppress(asyncio.CancelledError):
                await watcher

    async def _watch(self, receive: Receive, task: asyncio.Task[object]) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._end(task, ClientGone)

    def _end(self, task: asyncio.Task[object], reason: type[Exception]) -> None:
        if task in self._running and self._running[task] is None:
            self._running[task] = reason
            task.cancel()
