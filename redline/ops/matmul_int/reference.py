"""The meaning of matmul_int, for any array-API namespace."""

from __future__ import annotations

from typing import Any

from redline.ops.array_api import namespace
from redline.ops.dequantise import int_matrix, quantised_activations
from redline.ops.matmul_reference import after, before


def matmul_int(
    x_TK: Any,
    packed: Any,
    *,
    norm: tuple[Any, float] | None = None,
    bias: Any = None,
    gate: str | None = None,
    addend: Any = None,
    out: Any = None,
) -> Any:
    x_TK = before(x_TK, norm)
    y_TO = quantised_activations(x_TK, packed.activation_bits) @ int_matrix(packed, x_TK.dtype).T
    return after(y_TO, bias, gate, addend, out)


def embedding_int(ids_T: Any, packed: Any) -> Any:
    return int_matrix(packed, namespace(packed.codes).float32)[ids_T]
