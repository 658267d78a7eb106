"""multiply on NumPy arrays by csrc/cpu/multiply.cpp."""

from __future__ import annotations

import numpy as np

from redline import _kernels
from redline.errors import KernelError
from redline.ops.arrays import F32
from redline.ops.recording import new_array


def multiply(x_TD: F32, y_TD: F32) -> F32:
    if y_TD.shape not in (x_TD.shape, x_TD.shape[1:]):
        raise KernelError(
            f"multiply: x is {x_TD.shape} and y is {y_TD.shape}; y must be as x or one row of it"
        )
    z_TD = new_array(x_TD.shape)
    _kernels.multiply(x_TD, np.broadcast_to(y_TD, x_TD.shape), z_TD)
    return z_TD
