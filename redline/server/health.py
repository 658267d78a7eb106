"""`GET /health`, `GET /version`, `GET /metrics`: what launchers, load tools and Prometheus ask."""

from __future__ import annotations

from importlib.metadata import version

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from redline.server.service import Service


class HealthEndpoint:
    """None of these waits for the engine, so they answer while it is saturated."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._version = version("redline")

    async def health(self, request: Request) -> Response:
        """200 when requests can be served, 503 when the engine has stopped."""
        self._service.check_healthy()
        return JSONResponse({"status": "ok"})

    async def version(self, request: Request) -> Response:
        """The version of Redline."""
        return JSONResponse({"version": self._version})

    async def metrics(self, request: Request) -> Response:
        """Prometheus text format."""
        return Response(self._service.metrics.render(), headers={"content-type": CONTENT_TYPE_PLAIN_0_0_4})
