"""silu_mul and gelu_mul on NumPy arrays by csrc/cpu/gated_activation.cpp."""

from __future__ import annotations

from redline import _kernels
from redline.errors import KernelError
from redline.ops.arrays import F32
from redline.ops.recording import new_array

_SILU, _GELU_TANH, _GELU_ERF = 0, 1, 2


def silu_mul(gate_up_T2F: F32) -> F32:
    return _gated(_SILU, gate_up_T2F)


def gelu_mul(gate_up_T2F: F32, tanh: bool) -> F32:
    return _gated(_GELU_TANH if tanh else _GELU_ERF, gate_up_T2F)


def _gated(kind: int, gate_up_T2F: F32) -> F32:
    rows, columns = gate_up_T2F.shape
    if columns % 2:
        raise KernelError(f"gated activation: rows have {columns} values; they must be pairs of gate and up")
    y_TF = new_array((rows, columns // 2))
    _kernels.gated_activation(kind, gate_up_T2F, y_TF)
    return y_TF
