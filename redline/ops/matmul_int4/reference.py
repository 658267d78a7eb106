"""The meaning of matmul_int4, for any array-API namespace."""

from __future__ import annotations

from typing import Any

from redline.ops.array_api import namespace
from redline.ops.dequantise import int_matrix, quantised_activations


def matmul_int4(x_TK: Any, packed: Any) -> Any:
    return quantised_activations(x_TK, packed.activation_bits) @ int_matrix(packed, x_TK.dtype).T


def embedding_int4(ids_T: Any, packed: Any) -> Any:
    return int_matrix(packed, namespace(packed.codes).float32)[ids_T]
