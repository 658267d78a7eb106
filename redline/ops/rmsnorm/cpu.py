"""rmsnorm on NumPy arrays by csrc/cpu/rmsnorm.cpp."""

from __future__ import annotations

import numpy as np

from redline import _kernels
from redline.errors import KernelError
from redline.ops.arrays import F32


def rmsnorm(x_TD: F32, weight_D: F32, eps: float) -> F32:
    if x_TD.shape[-1] != weight_D.shape[0]:
        raise KernelError(f"rmsnorm: x has rows of {x_TD.shape[-1]} but weight has {weight_D.shape[0]}")
    y_TD = np.empty(x_TD.shape, np.float32)
    _kernels.rmsnorm(x_TD, weight_D, eps, y_TD)
    return y_TD
