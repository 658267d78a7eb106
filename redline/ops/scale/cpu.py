"""scale on NumPy arrays by csrc/cpu/scale.cpp."""

from __future__ import annotations

import numpy as np

from redline import _kernels
from redline.ops.arrays import F32


def scale(x_TD: F32, factor: float) -> F32:
    y_TD = np.empty(x_TD.shape, np.float32)
    _kernels.scale(x_TD, factor, y_TD)
    return y_TD
