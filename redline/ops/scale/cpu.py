"""scale on NumPy arrays by csrc/cpu/scale.cpp."""

from __future__ import annotations

from redline import _kernels
from redline.ops.arrays import F32
from redline.ops.recording import new_array


def scale(x_TD: F32, factor: float) -> F32:
    y_TD = new_array(x_TD.shape)
    _kernels.scale(x_TD, factor, y_TD)
    return y_TD
