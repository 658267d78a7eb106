"""build_app: the whole HTTP surface around one engine."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import ASGIApp

from redline.errors import RedlineError
from redline.server.chat import ChatEndpoint
from redline.server.completions import CompletionEndpoint
from redline.server.config import ServerConfig
from redline.server.engine import ServedEngine
from redline.server.errors import HTTPError, handle_error, handle_framework_error
from redline.server.explain import ExplainEndpoint
from redline.server.health import HealthEndpoint
from redline.server.limits import LimitGuard
from redline.server.models import ModelsEndpoint
from redline.server.request_log import RequestLog
from redline.server.running import RunningRequests
from redline.server.service import Service


def build_app(
    engine: ServedEngine, config: ServerConfig, *, running: RunningRequests | None = None
) -> ASGIApp:
    """An ASGI app that serves `engine`, which it neither starts nor closes.

    `running` lets the caller end the requests in work, as serve does when it has drained long enough.
    """
    app = Starlette(
        routes=_routes(Service(engine, config, running)),
        exception_handlers={
            HTTPException: handle_framework_error,
            HTTPError: handle_error,
            RedlineError: handle_error,
            Exception: handle_error,
        },
    )
    app.router.redirect_slashes = False  # a redirect would be built from the client's Host header
    return RequestLog(LimitGuard(app, config))


def _routes(service: Service) -> list[Route]:
    models = ModelsEndpoint(service)
    health = HealthEndpoint(service)
    return [
        Route("/v1/chat/completions", ChatEndpoint(service), methods=["POST"]),
        Route("/v1/completions", CompletionEndpoint(service), methods=["POST"]),
        Route("/v1/models", models.list),
        Route("/v1/models/{name:path}", models.get),
        Route("/v1/redline/requests/{id}", ExplainEndpoint(service).get),
        Route("/health", health.health),
        Route("/version", health.version),
        Route("/metrics", health.metrics),
    ]
