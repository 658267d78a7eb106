"""pool_app: the HTTP surface in front of several models."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.routing import Route, request_response
from starlette.types import ASGIApp

from redline.server.app import BY_MODEL, application, observing, stored_responses, with_description
from redline.server.explain import ExplainEndpoint
from redline.server.health import HealthEndpoint
from redline.server.http_metrics import HttpMetrics
from redline.server.live import LiveEndpoint
from redline.server.openapi import body_type_of
from redline.server.pool.by_model import NamedInBody, TokenizerInfo
from redline.server.pool.models import PooledModels
from redline.server.pool.pool import ModelPool
from redline.server.service import Service
from redline.server.tokenization import TokenizerInfoEndpoint

INFO = "/tokenizer_info"


def pool_app(pool: ModelPool, http: HttpMetrics) -> Starlette:
    """The same routes as for one model, without guards; requests go to the model that they name."""
    models = PooledModels(pool)
    routes = [
        *(
            Route(path, NamedInBody(pool, path, body_type_of(endpoint)), methods=["POST"])
            for path, endpoint in BY_MODEL.items()
        ),
        *stored_responses(pool.responses),
        Route("/v1/models", models.list),
        Route("/v1/models/{name:path}", models.get),
        Route("/v1/redline/requests/{id}", ExplainEndpoint(pool.explain).get),
        Route("/v1/redline/live", LiveEndpoint(pool.watched).get),
        Route(INFO, TokenizerInfo(pool, INFO), methods=["GET"]),
        *observing(HealthEndpoint(pool)),
    ]
    return application(with_description(routes, pool.server_config), http)


def endpoints(service: Service) -> dict[str, ASGIApp]:
    """What one loaded model answers, by route."""
    info = request_response(TokenizerInfoEndpoint(service).get)
    return {INFO: info, **{path: endpoint(service) for path, endpoint in BY_MODEL.items()}}
