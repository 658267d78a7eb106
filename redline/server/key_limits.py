"""KeyLimits: how many requests of one key run or wait at the same time."""

from __future__ import annotations

from collections import Counter

from starlette.types import ASGIApp, Receive, Scope, Send

from redline.server.authentication import caller_of
from redline.server.errors import too_many


class KeyLimits:
    """Counts what can make work, which is what is posted; looking at models and metrics is free."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._running: Counter[str] = Counter()  # by the name of the key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller = caller_of(scope)
        if scope["type"] != "http" or scope["method"] != "POST" or caller.max_requests is None:
            await self._app(scope, receive, send)
            return
        num_running = self._running[caller.name]
        if num_running >= caller.max_requests:
            reason = (
                f"{num_running} of your requests are here already and at most {caller.max_requests} may be"
            )
            await too_many(reason, "too_many_requests", 1).response()(scope, receive, send)
            return
        self._running[caller.name] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._running[caller.name] -= 1
            if not self._running[caller.name]:
                del self._running[caller.name]
