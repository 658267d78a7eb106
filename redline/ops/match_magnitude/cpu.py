"""match_magnitude on NumPy arrays by csrc/cpu/match_magnitude.cpp."""

from __future__ import annotations

from redline import _kernels
from redline.errors import KernelError
from redline.ops.arrays import F32
from redline.ops.recording import new_array


def match_magnitude(x_TD: F32, like_TD: F32, least: float) -> F32:
    if x_TD.shape != like_TD.shape or not least > 0:
        raise KernelError(
            f"match_magnitude: x is {x_TD.shape}, like {like_TD.shape}, {least = }; the shapes must be "
            "equal, least above 0"
        )
    y_TD = new_array(x_TD.shape)
    _kernels.match_magnitude(x_TD, like_TD, least, y_TD)
    return y_TD
