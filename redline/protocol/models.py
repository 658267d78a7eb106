"""The list of models."""

from __future__ import annotations

from typing import Literal

from redline.protocol.wire import ResponseModel


class ModelCard(ResponseModel):
    """One model that can be named in a request. `max_model_len`: tokens of prompt and answer together."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = ""
    root: str | None = None
    max_model_len: int | None = None


class ModelList(ResponseModel):
    """All models that can be named."""

    object: Literal["list"] = "list"
    data: list[ModelCard]
