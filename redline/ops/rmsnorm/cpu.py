"""rmsnorm on NumPy arrays by csrc/cpu/rmsnorm.cpp."""

from __future__ import annotations

from redline import _kernels
from redline.errors import KernelError
from redline.ops.arrays import F32
from redline.ops.recording import new_array


def rmsnorm(x_TD: F32, weight_D: F32, eps: float) -> F32:
    if x_TD.shape[-1] != weight_D.shape[0] or not 2 <= x_TD.ndim <= 3:
        raise KernelError(
            f"rmsnorm: x is {x_TD.shape} but weight has {weight_D.shape[0]}; x must be [T, D] or [T, H, D]"
        )
    y_TD = new_array(x_TD.shape)
    _kernels.rmsnorm(x_TD, weight_D, eps, y_TD)
    return y_TD
