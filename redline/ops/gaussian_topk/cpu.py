"""gaussian_topk on NumPy arrays by csrc/cpu/gaussian_topk.cpp."""

from __future__ import annotations

from redline import _kernels
from redline.ops.arrays import F32
from redline.ops.recording import new_array


def gaussian_topk(x_TF: F32, deviations: float) -> F32:
    y_TF = new_array(x_TF.shape)
    _kernels.gaussian_topk(x_TF, deviations, y_TF)
    return y_TF
