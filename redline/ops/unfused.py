"""unfused(): a backend whose matmuls only multiply, with an op of its own for all that they might do besides.

The baseline of fusion: the same bits, more passes over memory.
"""

from __future__ import annotations

from typing import Any, Unpack

from redline.ops.fused import Fused
from redline.ops.registry import Backend

MATMULS = ("matmul_float", "matmul_int")


def unfused(ops: Backend) -> Backend:
    """`ops` with separate norms, gates and sums. A bias stays: it is part of what a linear layer is."""
    separate = {name: _separate(ops, getattr(ops, name)) for name in MATMULS}
    return Backend(**{**vars(ops), **separate})


def _separate(ops: Backend, matmul: Any) -> Any:
    def call(x_TK: Any, packed: Any, **fused: Unpack[Fused]) -> Any:
        norm, gate, addend, out = fused.get("norm"), fused.get("gate"), fused.get("addend"), fused.get("out")
        if norm is not None:
            x_TK = ops.rmsnorm(x_TK, *norm)
        multiplied = gate is None and addend is None
        y_TO = matmul(x_TK, packed, bias=fused.get("bias"), out=out if multiplied else None)
        if gate is not None:
            y_TO = ops.silu_mul(y_TO) if gate == "silu" else ops.gelu_mul(y_TO, gate == "gelu_tanh")
        if addend is not None:
            y_TO = ops.add(y_TO, addend)
        if out is None or multiplied:
            return y_TO
        out[...] = y_TO
        return out

    return call
