"""The meaning of what a matmul op does besides multiplying (see redline/ops/fused.py)."""

from __future__ import annotations

from typing import Any

from redline.ops.gated_activation.reference import gelu_mul, silu_mul
from redline.ops.rmsnorm.reference import rmsnorm


def before(x_TK: Any, norm: tuple[Any, float] | None) -> Any:
    """x, normed if need be."""
    return x_TK if norm is None else rmsnorm(x_TK, *norm)


def after(y_TO: Any, bias: Any, gate: str | None, addend: Any, out: Any) -> Any:
    """What becomes of the products."""
    if bias is not None:
        y_TO = y_TO + bias
    if gate is not None:
        y_TO = silu_mul(y_TO) if gate == "silu" else gelu_mul(y_TO, gate == "gelu_tanh")
    if addend is not None:
        y_TO = y_TO + addend
    if out is None:
        return y_TO
    out[...] = y_TO
    return out
