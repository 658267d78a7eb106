"""The meaning of matmul_float, for any array-API namespace."""

from __future__ import annotations

from typing import Any

from redline.ops.array_api import namespace
from redline.ops.dequantise import float_matrix
from redline.ops.matmul_reference import after, before


def matmul_float(
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
    y_TO = x_TK @ float_matrix(packed, x_TK.dtype).T
    return after(y_TO, bias, gate, addend, out)


def embedding_float(ids_T: Any, packed: Any) -> Any:
    return float_matrix(packed, namespace(packed.panels).float32)[ids_T]
