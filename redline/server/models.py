"""`GET /v1/models` and `GET /v1/models/{id}`."""

from __future__ import annotations

import time

from starlette.requests import Request
from starlette.responses import Response

from redline.protocol.models import ModelCard, ModelList
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
        return ModelCard(
            id=name,
            object="model",
            created=self._created,
            owned_by="redline",
            root=engine.model_name,
            max_model_len=engine.max_context,
        )
