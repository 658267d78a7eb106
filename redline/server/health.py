"""What launchers, load tools and Prometheus ask: `/health`, `/ping`, `/version`, `/load`, `/metrics`."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Protocol

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from redline.errors import RequestError
from redline.server.errors import unavailable
from redline.server.running import RunningRequests
from redline.server.self_check import SelfCheck


class Rendered(Protocol):
    """Metrics that can be read."""

    def render(self) -> bytes:
        """In Prometheus text format."""


class Observed(Protocol):
    """What these endpoints look at: the service of one model, or a pool of several."""

    running: RunningRequests

    @property
    def metrics(self) -> Rendered:
        """What has been counted."""

    def check_healthy(self) -> None:
        """Raises HTTPError 503 when nothing new is taken."""


DEEP = {"1": True, "true": True, "0": False, "false": False}


class HealthEndpoint:
    """None of these waits for the engine, so they answer while it is saturated; but for a deep /health."""

    def __init__(self, service: Observed, self_check: SelfCheck | None = None) -> None:
        self._service = service
        self._version = version("redline")
        self._self_check = self_check

    async def health(self, request: Request) -> Response:
        """200 when requests are taken; 503 with a reason while loading, stuck, draining, or stopped.

        503 too once a self-check has failed. With deep=1 such a check runs first if one is due.
        """
        self._service.check_healthy()
        deep = await self._deep() if _is_deep(request) else None
        self._check_bits()
        return JSONResponse({"status": "ok"} if deep is None else {"status": "ok", "deep": deep})

    async def ping(self, request: Request) -> Response:
        """The same for launchers that look at the status only."""
        self._service.check_healthy()
        self._check_bits()
        return Response()

    async def load(self, request: Request) -> Response:
        """How many requests are in work here, waiting ones included: a number to balance by."""
        return JSONResponse({"server_load": len(self._service.running)})

    async def version(self, request: Request) -> Response:
        """The version of Redline."""
        return JSONResponse({"version": self._version})

    async def metrics(self, request: Request) -> Response:
        """Prometheus text format."""
        return Response(self._service.metrics.render(), headers={"content-type": CONTENT_TYPE_PLAIN_0_0_4})

    async def _deep(self) -> dict[str, Any]:
        """The latest self-check."""
        if self._self_check is None:
            raise RequestError(
                "deep is 1 and this server does not check itself; leave it out, or serve one model "
                "with --self-check 300",
                param="deep",
            )
        finding = await self._self_check.ask()
        age_s = self._self_check.age_s
        if finding is None or age_s is None:
            return {"status": "pending"}
        return {"status": "holds" if finding.fault is None else "broken", "age_s": round(age_s, 3)}

    def _check_bits(self) -> None:
        """Raises HTTPError 503 once the latest self-check has failed."""
        latest = None if self._self_check is None else self._self_check.latest
        if latest is not None and latest.fault is not None:
            raise unavailable(f"the self-check failed: {latest.fault}", "self_check_failed")


def _is_deep(request: Request) -> bool:
    given = request.query_params.get("deep", "0")
    if given not in DEEP:
        raise RequestError(f"deep is {given[:40]!r}; it must be one of {', '.join(DEEP)}", param="deep")
    return DEEP[given]
