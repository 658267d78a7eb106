"""The list of models."""

from __future__ import annotations

from typing import Literal

from redline.protocol.wire import ResponseModel


class EmbeddingCard(ResponseModel):
    """How `/v1/embeddings` makes a vector of a prompt: of its final hidden states, by `pooling`."""

    dimensions: int
    pooling: Literal["mean"] = "mean"
    normalized: bool = True


class ModelCard(ResponseModel):
    """One model that can be named in a request. `max_model_len`: tokens of prompt and answer together.

    `state`: only where the server has several, and loads them when they are asked for.
    """

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = ""
    root: str | None = None
    max_model_len: int | None = None
    embedding: EmbeddingCard | None = None
    state: Literal["unloaded", "loading", "loaded", "unloading"] | None = None


class ModelList(ResponseModel):
    """All models that can be named."""

    object: Literal["list"] = "list"
    data: list[ModelCard]
