"""Linear: x @ weight.T + bias, whatever format the weight is stored in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redline.ops.array_api import namespace
from redline.ops.arrays import F32
from redline.quant.base import Weight


class Linear:
    """One matrix [O outputs, K inputs] and an optional bias [O]."""

    def __init__(self, weight: Weight, bias_O: F32 | None = None) -> None:
        self.weight = weight
        self.bias_O = bias_O

    def __call__(self, ops: Any, x_TK: F32) -> F32:
        y_TO: F32 = self.weight.matmul(ops, x_TK)
        return y_TO if self.bias_O is None else y_TO + self.bias_O

    def with_precise_activations(self) -> Linear:
        """The same map with its input rounded as little as the weight's kernels allow."""
        return Linear(self.weight.with_precise_activations(), self.bias_O)


class StackedWeight:
    """Matrices of different formats over one input, their outputs side by side.

    Merged projections are one Weight when their parts are stored alike; mixed files (for example Q4_K with
    some Q6_K) need this.
    """

    format = "stacked"

    def __init__(self, parts: Sequence[Weight]) -> None:
        assert len({part.num_inputs for part in parts}) == 1, [part.num_inputs for part in parts]
        self.parts = tuple(parts)
        self.num_outputs = sum(part.num_outputs for part in parts)
        self.num_inputs = parts[0].num_inputs
        self.nbytes = sum(part.nbytes for part in parts)

    def matmul(self, ops: Any, x_TK: F32) -> F32:
        outputs = [part.matmul(ops, x_TK) for part in self.parts]
        y_TO: F32 = namespace(x_TK).concat(outputs, axis=1)
        return y_TO

    def with_precise_activations(self) -> StackedWeight:
        return StackedWeight([part.with_precise_activations() for part in self.parts])

    def embedding(self, ops: Any, ids_T: Any) -> F32:
        raise AssertionError("an embedding is one matrix in one format")
