"""The meaning of matmul_float, for any array-API namespace."""

from __future__ import annotations

from typing import Any

from redline.ops.array_api import namespace
from redline.ops.dequantise import float_matrix


def matmul_float(x_TK: Any, packed: Any) -> Any:
    return x_TK @ float_matrix(packed, x_TK.dtype).T


def embedding_float(ids_T: Any, packed: Any) -> Any:
    return float_matrix(packed, namespace(packed.panels).float32)[ids_T]
