"""layernorm on NumPy arrays by csrc/cpu/layernorm.cpp."""

from __future__ import annotations

from redline import _kernels
from redline.errors import KernelError
from redline.ops.arrays import F32
from redline.ops.recording import new_array


def layernorm(x_TD: F32, weight_D: F32, bias_D: F32 | None, eps: float) -> F32:
    dim = x_TD.shape[-1]
    if dim != weight_D.shape[0] or (bias_D is not None and dim != bias_D.shape[0]):
        raise KernelError(f"layernorm: x has rows of {dim}; weight and bias must have as many values")
    y_TD = new_array(x_TD.shape)
    _kernels.layernorm(x_TD, weight_D, bias_D, eps, y_TD)
    return y_TD
