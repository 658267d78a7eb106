"""The meaning of silu_mul and gelu_mul, for any array-API namespace."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from redline.ops.array_api import namespace


def silu_mul(gate_up_T2F: Any) -> Any:
    return gate_mul(*_halves(gate_up_T2F), "silu")


def gelu_mul(gate_up_T2F: Any, tanh: bool) -> Any:
    return gate_mul(*_halves(gate_up_T2F), "gelu_tanh" if tanh else "gelu")


def gate_mul(gate_TF: Any, up_TF: Any, kind: str) -> Any:
    xp = namespace(gate_TF)
    if kind == "silu":
        return gate_TF / (1 + xp.exp(-gate_TF)) * up_TF
    if kind == "gelu_tanh":
        inner_TF = math.sqrt(2 / math.pi) * (gate_TF + 0.044715 * gate_TF**3)
        return gate_TF / 2 * (1 + xp.tanh(inner_TF)) * up_TF
    return gate_TF / 2 * (1 + _erf(xp, gate_TF / math.sqrt(2))) * up_TF


def _halves(gate_up_T2F: Any) -> tuple[Any, Any]:
    half = gate_up_T2F.shape[-1] // 2
    return gate_up_T2F[:, :half], gate_up_T2F[:, half:]


def _erf(xp: Any, x: Any) -> Any:
    """erf is not in the array API: torch has it, NumPy does not."""
    if hasattr(xp, "erf"):
        return xp.erf(x)
    return np.vectorize(math.erf, otypes=[x.dtype])(x)
