"""add on NumPy arrays by csrc/cpu/add.cpp."""

from __future__ import annotations

from redline import _kernels
from redline.errors import KernelError
from redline.ops.arrays import F32
from redline.ops.recording import new_array


def add(x_TD: F32, y_TD: F32) -> F32:
    if x_TD.shape != y_TD.shape:
        raise KernelError(f"add: x is {x_TD.shape} and y is {y_TD.shape}; they must be equal")
    z_TD = new_array(x_TD.shape)
    _kernels.add(x_TD, y_TD, z_TD)
    return z_TD
