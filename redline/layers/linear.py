"""Linear: x @ weight.T + bias, whatever format the weight is stored in."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Unpack

from redline.ops.arrays import F32
from redline.ops.fused import Fused
from redline.quant.base import Weight


def gated(ops: Any, both_T2F: F32, gate: str) -> F32:
    """gate(first half of each row) * second half -> [T, F]."""
    y_TF: F32 = ops.silu_mul(both_T2F) if gate == "silu" else ops.gelu_mul(both_T2F, gate == "gelu_tanh")
    return y_TF


class Linear:
    """One matrix [O outputs, K inputs] and an optional bias [O]."""

    def __init__(self, weight: Weight, bias_O: F32 | None = None) -> None:
        self.weight = weight
        self.bias_O = bias_O

    def __call__(self, ops: Any, x_TK: F32, **fused: Unpack[Fused]) -> F32:
        fused["bias"] = self.bias_O
        y_TO: F32 = self.weight.matmul(ops, x_TK, **fused)
        return y_TO

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
        ends = list(itertools.accumulate(part.num_outputs for part in parts))
        self._columns = [slice(end - part.num_outputs, end) for part, end in zip(parts, ends, strict=True)]

    def matmul(self, ops: Any, x_TK: F32, **fused: Unpack[Fused]) -> F32:
        """Each part norms x and writes its own columns; a gate waits for all of them."""
        gate, bias_O, addend_TO = fused.get("gate"), fused.get("bias"), fused.get("addend")
        out = fused.get("out") if gate is None else None
        y_TO: F32 = ops.empty((len(x_TK), self.num_outputs)) if out is None else out
        for part, columns in zip(self.parts, self._columns, strict=True):
            part.matmul(
                ops,
                x_TK,
                norm=fused.get("norm"),
                bias=None if bias_O is None else bias_O[columns],
                addend=None if addend_TO is None else addend_TO[:, columns],
                out=y_TO[:, columns],
            )
        return y_TO if gate is None else gated(ops, y_TO, gate)

    def with_precise_activations(self) -> StackedWeight:
        return StackedWeight([part.with_precise_activations() for part in self.parts])

    def embedding(self, ops: Any, ids_T: Any) -> F32:
        raise AssertionError("an embedding is one matrix in one format")
