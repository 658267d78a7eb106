"""Stem: what a family does before its first block and after its last."""

from __future__ import annotations

from typing import Any, Protocol

from redline.models.spec import ModelSpec
from redline.models.weights import WeightSource
from redline.ops.arrays import F32, I32


class Stem(Protocol):
    """What a family does before its blocks and after them."""

    def enter(self, ops: Any, x_TD: F32, token_ids_T: I32) -> Any:
        """What goes into the first block, made of the embeddings of the tokens."""

    def leave(self, ops: Any, x_RD: Any) -> F32:
        """What the final norm reads, [R, D], made of what the last block returned."""


class StemType(Protocol):
    """Builds a stem from its tensors."""

    def __call__(self, spec: ModelSpec, weights: WeightSource) -> Stem: ...


class PlainStem:
    """The embeddings are the residual stream, and it is what the final norm reads."""

    def __init__(self, spec: ModelSpec, weights: WeightSource) -> None:
        pass

    def enter(self, ops: Any, x_TD: F32, token_ids_T: I32) -> F32:
        return x_TD

    def leave(self, ops: Any, x_RD: F32) -> F32:
        return x_RD
