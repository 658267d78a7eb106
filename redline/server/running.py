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


class Running:
    """One request in work."""

    def __init__(self, task: asyncio.Task[object]) -> None:
        self._task = task
        self._reason: Exception | None = None
        self._timers: list[asyncio.TimerHandle] = []

    def end(self, reason: Exception) -> None:
        """End it now; the first reason counts."""
        if self._reason is None:
            self._reason = reason
            self._task.cancel()

    def end_after(self, seconds: float, reason: Exception) -> asyncio.TimerHandle:
        """End it with `reason` then, unless it is over, or the timer cancelled."""
        timer = asyncio.get_running_loop().call_later(max(0.0, seconds), self.end, reason)
        self._timers.append(timer)
        return timer

    def take_your_time(self) -> None:
        """Cancel all timers: the work is done."""
        for timer in self._timers:
            timer.cancel()

    def reason_for(self) -> Exception | None:
        """Why the CancelledError that arrived was sent; None: not by this class alone."""
        return None if self._reason is None or self._task.uncancel() > 0 else self._reason


class RunningRequests:
    """The requests in work, so that each can be ended from outside at any await.

    Ending means cancelling the request's task inside the `with` block, where the engine's iterator is
    closed on the way out; the block then raises ClientGone, Stopping or what a timer says instead of
    CancelledError.
    """

    def __init__(self) -> None:
        self._running: dict[asyncio.Task[object], Running] = {}
        self._stopping = False

    def __len__(self) -> int:
        return len(self._running)

    def stop_all(self) -> None:
        """End every request with Stopping, also those to come."""
        self._stopping = True
        for running in list(self._running.values()):
            running.end(Stopping())

    async def all_done(self) -> None:
        """Wait until the tasks of all requests have ended."""
        while self._running:
            await asyncio.wait(list(self._running))

    @asynccontextmanager
    async def until_gone(self, receive: Receive) -> AsyncIterator[Running]:
        """Runs its block until the client is gone. The request's body has been read before."""
        if self._stopping:
            raise Stopping
        task = asyncio.current_task()
        assert task is not None and task not in self._running, f"{task = }"
        running = self._running[task] = Running(task)
        watcher = asyncio.create_task(_watch(receive, running))
        try:
            yield running
        except asyncio.CancelledError:
            reason = running.reason_for()
            if reason is None:
                raise
            raise reason from None
        finally:
            running.take_your_time()
            del self._running[task]
            watcher.cancel()
            with suppress(asyncio.CancelledError):
                await watcher


async def _watch(receive: Receive, running: Running) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    running.end(ClientGone())
