"""build_app: the whole HTTP surface around one engine; with_guards: the layers around it."""

from __future__ import annotations

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from redline.errors import RedlineError
from redline.server.anthropic import CountTokensEndpoint, MessagesEndpoint
from redline.server.anthropic_errors import MessagesErrors
from redline.server.apply_template import ApplyTemplateEndpoint
from redline.server.authentication import Authentication
from redline.server.chat import ChatEndpoint
from redline.server.completions import CompletionEndpoint
from redline.server.config import ServerConfig
from redline.server.cors import with_cors
from redline.server.embeddings import EmbeddingsEndpoint
from redline.server.engine import ServedEngine
from redline.server.errors import HTTPError, handle_error, handle_framework_error
from redline.server.explain import ExplainEndpoint
from redline.server.health import HealthEndpoint
from redline.server.http_metrics import HttpMetrics
from redline.server.key_limits import KeyLimits
from redline.server.key_store import KeyStore
from redline.server.limits import LimitGuard
from redline.server.live import LiveEndpoint
from redline.server.metrics import ServerMetrics
from redline.server.models import ModelsEndpoint
from redline.server.openapi import OpenAPIEndpoint
from redline.server.origin_guard import with_origin_guard
from redline.server.page import with_page
from redline.server.readiness import Readiness
from redline.server.request_log import RequestLog
from redline.server.response_store import ResponseStore
from redline.server.responses import InputTokensEndpoint, ResponsesEndpoint
from redline.server.scoring import RerankEndpoint, ScoreEndpoint
from redline.server.self_check import self_check_of
from redline.server.service import Service
from redline.server.stored_responses import StoredResponses
from redline.server.tokenization import DetokenizeEndpoint, TokenizeEndpoint, TokenizerInfoEndpoint
from redline.server.tracing import Tracing


def build_app(engine: ServedEngine, config: ServerConfig) -> ASGIApp:
    """An ASGI app that serves `engine`, which it neither starts nor closes. Raises ConfigError."""
    readiness, http = Readiness(config.step_timeout_s), HttpMetrics()
    metrics = ServerMetrics(readiness, http).of(engine)
    service = Service(engine, config, readiness=readiness, metrics=metrics)
    return with_guards(api(service, http), config, KeyStore(config), http)


def with_guards(
    app: ASGIApp, config: ServerConfig, keys: KeyStore, http: HttpMetrics, tracing: Tracing | None = None
) -> ASGIApp:
    """`app` behind everything that a request must pass first, from the outside in: the log, the shape of
    errors, what is malformed or too large, pages of other sites, the built-in page, keys and their limits."""
    keyed = with_page(Authentication(KeyLimits(app), config, keys), config)
    guarded = LimitGuard(with_cors(with_origin_guard(keyed, config), config), config)
    return RequestLog(MessagesErrors(guarded), http, tracing)


def api(service: Service, http: HttpMetrics) -> Starlette:
    """All endpoints, without guards. `http` learns what they are called."""
    return application(_routes(service), http)


def application(routes: list[Route], http: HttpMetrics) -> Starlette:
    """`routes`, which `http` learns, and what becomes of errors."""
    http.know(routes)
    app = Starlette(
        routes=routes,
        exception_handlers={
            HTTPException: handle_framework_error,
            HTTPError: handle_error,
            RedlineError: handle_error,
            Exception: handle_error,
        },
    )
    app.router.redirect_slashes = False  # a redirect would be built from the client's Host header
    return app


# What one model answers, and which one the request says.
BY_MODEL: dict[str, Callable[[Service], ASGIApp]] = {
    "/v1/chat/completions": ChatEndpoint,
    "/v1/completions": CompletionEndpoint,
    "/v1/messages": MessagesEndpoint,
    "/v1/messages/count_tokens": CountTokensEndpoint,
    "/v1/responses": ResponsesEndpoint,
    "/v1/responses/input_tokens": InputTokensEndpoint,
    "/v1/embeddings": EmbeddingsEndpoint,
    **dict.fromkeys(("/v1/score", "/score"), ScoreEndpoint),
    **dict.fromkeys(("/rerank", "/v1/rerank", "/v2/rerank"), RerankEndpoint),
    "/tokenize": TokenizeEndpoint,
    "/detokenize": DetokenizeEndpoint,
    "/apply-template": ApplyTemplateEndpoint,
}


async def _absent(request: Request) -> Response:
    raise HTTPException(404)


def stored_responses(store: ResponseStore) -> list[Route]:
    """What can be done with the responses that are kept."""
    stored = StoredResponses(store)
    return [
        # Clients ask for it; it is not there, and not 405, as if a response had this id.
        Route("/v1/responses/compact", _absent, methods=["POST"], include_in_schema=False),
        Route("/v1/responses/{id}", stored.one, methods=["GET", "DELETE"]),
        Route("/v1/responses/{id}/cancel", stored.cancel, methods=["POST"]),
        Route("/v1/responses/{id}/input_items", stored.input_items),
    ]


def observing(health: HealthEndpoint) -> list[Route]:
    """What is asked about the server, not of a model."""
    return [
        Route("/health", health.health),
        Route("/ping", health.ping, methods=["GET", "POST"]),
        Route("/version", health.version),
        Route("/load", health.load),
        Route("/metrics", health.metrics),
    ]


def _routes(service: Service) -> list[Route]:
    models = ModelsEndpoint(service)
    routes = [
        *(Route(path, endpoint(service), methods=["POST"]) for path, endpoint in BY_MODEL.items()),
        *stored_responses(service.responses),
        Route("/v1/models", models.list),
        Route("/v1/models/{name:path}", models.get),
        Route("/v1/redline/requests/{id}", ExplainEndpoint(service.engine.explain).get),
        Route("/v1/redline/live", LiveEndpoint(service.named).get),
        Route("/tokenizer_info", TokenizerInfoEndpoint(service).get),
        *observing(HealthEndpoint(service, self_check_of(service.engine, service.config.self_check_s))),
    ]
    return with_description(routes, service.config)


def with_description(routes: list[Route], config: ServerConfig) -> list[Route]:
    """`routes`, and one that describes them all."""
    routes.append(Route("/openapi.json", OpenAPIEndpoint(routes, config).get))
    return routes
