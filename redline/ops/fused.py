"""What a matmul op may do besides multiplying, in the same pass over memory.

    matmul_<format>(x_TK, packed, norm=, bias=, gate=, addend=, out=) -> y_TO

norm    (weight_K, eps): RMSNorm of each row of x first
bias    float32 [O], added to each row
gate    "silu", "gelu" or "gelu_tanh": outputs are pairs of halves, y = gate(first half) * second half
addend  float32 [T, O], added last: the residual; not together with a gate
out     float32 [T, O], where y goes, with any stride between rows; else y is new and dense

Fused or one after the other, the result has the same bits (tests/ops/test_fused.py).
"""

from __future__ import annotations

from typing import TypedDict

from redline.ops.arrays import F32

GATES = ("silu", "gelu_tanh", "gelu")


class Fused(TypedDict, total=False):
    """The keyword arguments of a matmul op."""

    norm: tuple[F32, float] | None
    bias: F32 | None
    gate: str | None
    addend: F32 | None
    out: F32 | None
