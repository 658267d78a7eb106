"""LoadingApp: answers while the model is still being loaded."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from redline.server.readiness import Readiness


class LoadingApp:
    """Says what readiness says, to whatever is asked, until `ready` gives it the app to ask."""

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness
        self._app: ASGIApp = self._not_yet

    def ready(self, app: ASGIApp) -> None:
        """From now on `app` answers."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    async def _not_yet(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem = self._readiness.problem()
        assert problem is not None, "ready() comes before an engine makes the server ready"
        await problem.response()(scope, receive, send)
