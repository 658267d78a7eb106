"""`GET /v1/models` and `GET /v1/models/{id}` of a pool."""

from __future__ import annotations

import time

from starlette.requests import Request
from starlette.responses import Response

from redline.protocol.models import ModelCard, ModelList
from redline.server.models import model_card
from redline.server.pool.hosted_model import HostedModel
from redline.server.pool.pool import ModelPool


class PooledModels:
    """All models, loaded or not, under all of their names. Looking loads nothing."""

    def __init__(self, pool: ModelPool) -> None:
        self._pool = pool
        self._created = int(time.time())

    async def list(self, request: Request) -> Response:
        """Every name of every model."""
        cards = [self._card(name, model) for model in self._pool.models for name in model.entry.names]
        return Response(ModelList(object="list", data=cards).to_json(), media_type="application/json")

    async def get(self, request: Request) -> Response:
        """One model; 404 when no model has this name."""
        name = request.path_params["name"]
        return Response(self._card(name, self._pool.find(name)).to_json(), media_type="application/json")

    def _card(self, name: str, model: HostedModel) -> ModelCard:
        entry = model.entry
        card = model_card(name, self._created, entry.max_context, entry.embedding_size)
        card.root, card.state = entry.name, model.state
        return card
