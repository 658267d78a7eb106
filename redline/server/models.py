"""`GET /v1/models` and `GET /v1/models/{id}`."""

from __future__ import annotations

import time

from starlette.requests import Request
from starlette.responses import Response

from redline.config.pooling import POOLING
from redline.protocol.models import EmbeddingCard, ModelCard, ModelList
from redline.server.service import Service


class ModelsEndpoint:
    """Lists the names that requests may use; every alias is a card of its own, with the same root."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._created = int(time.time())

    async def list(self, request: Request) -> Response:
        """All models."""
        cards = [self._card(name) for name in self._service.model_names]
        return Response(ModelList(object="list", data=cards).to_json(), media_type="application/json")

    async def get(self, request: Request) -> Response:
        """One model; 404 when no model has this name."""
        name = request.path_params["name"]
        self._service.check_model(name)
        return Response(self._card(name).to_json(), media_type="application/json")

    def _card(self, name: str) -> ModelCard:
        engine = self._service.engine
        card = model_card(name, self._created, engine.max_context, engine.embedding_size)
        card.root = engine.model_name
        return card


def model_card(name: str, created: int, max_context: int, embedding_size: int) -> ModelCard:
    """What is told of a model under one of its names."""
    return ModelCard(
        id=name,
        object="model",
        created=created,
        owned_by="redline",
        max_model_len=max_context,
        embedding=EmbeddingCard(dimensions=embedding_size, pooling=POOLING, normalized=True),
    )
