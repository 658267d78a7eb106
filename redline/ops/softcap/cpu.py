"""softcap on NumPy arrays by csrc/cpu/softcap.cpp."""

from __future__ import annotations

from redline import _kernels
from redline.errors import KernelError
from redline.ops.arrays import F32
from redline.ops.recording import new_array


def softcap(x_RV: F32, cap: float) -> F32:
    if not cap > 0:
        raise KernelError(f"softcap: cap is {cap}; it must be above 0")
    y_RV = new_array(x_RV.shape)
    _kernels.softcap(x_RV, cap, y_RV)
    return y_RV
