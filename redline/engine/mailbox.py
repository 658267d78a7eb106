"""Mailbox: the deltas of one request between the event loop's callback and the task that reads them."""

from __future__ import annotations

import asyncio
from collections import deque

from redline.core.shortcut import Shortcut
from redline.engine.outputs import Delta


class Mailbox:
    """An asyncio.Queue for one reader, without what that does for several: it is used once for each token."""

    def __init__(self, loop: asyncio.AbstractEventLoop, shortcut: Shortcut | None = None) -> None:
        self.loop = loop
        self._shortcut = Shortcut() if shortcut is None else shortcut
        self._deltas: deque[Delta] = deque()
        self._reader: asyncio.Future[None] | None = None  # who waits
        self._failure: Exception | None = None  # of the shortcut

    def put(self, delta: Delta) -> None:
        """Called on the loop."""
        waits = self._reader is not None and not self._reader.done()
        if waits and not self._deltas and self._shortcut.take is not None and delta.error is None:
            try:
                if self._shortcut.take(delta):
                    return
            except Exception as error:  # noqa: BLE001  the reader raises it; deltas of others come next
                self._failure = error
        self._deltas.append(delta)
        if waits:
            assert self._reader is not None
            self._reader.set_result(None)

    async def get(self) -> Delta:
        """The next delta, waited for. Raises what the shortcut raised."""
        while not self._deltas:
            self._reader = self.loop.create_future()
            await self._reader
        if self._failure is not None:
            raise self._failure
        return self._deltas.popleft()
