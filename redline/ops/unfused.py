"""unfused(): a backend with an op for each thing: matmuls only multiply, attention neither turns nor stores.

The baseline of fusion: the same bits, more passes over memory.
"""

from __future__ import annotations

from typing import Any, Unpack

from redline.ops.fused import Fused
from redline.ops.registry import Backend
from redline.ops.rope_attention.composed import composed

MATMULS = ("matmul_float", "matmul_int")


def unfused(ops: Backend) -> Backend:
    """`ops` with separate norms, gates, sums, rotations and stores. A bias stays in its matmul."""
    separate = {name: _separate(ops, getattr(ops, name)) for name in MATMULS}
    rope_attention = composed(ops.rope, ops.kv_store, ops.attention)
    return Backend(**{**vars(ops), **separate, "rope_attention": rope_attention})


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
