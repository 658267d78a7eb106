"""mix on NumPy arrays by csrc/cpu/mix.cpp."""

from __future__ import annotations

from collections.abc import Sequence

from redline import _kernels
from redline.errors import KernelError
from redline.ops.arrays import F32
from redline.ops.recording import new_array

MOST = 16  # kMaxMixed of csrc/kernels.h


def mix(x_TD: Sequence[F32], weights_TM: F32, addend_TD: F32) -> F32:
    shape = addend_TD.shape
    if (
        not 1 <= len(x_TD) <= MOST
        or any(each_TD.shape != shape for each_TD in x_TD)
        or weights_TM.shape != (shape[0], len(x_TD))
    ):
        raise KernelError(
            f"mix: {len(x_TD)} matrices {[each_TD.shape for each_TD in x_TD]}, weights {weights_TM.shape}, "
            f"addend {shape}; they must be 1 to {MOST} of [T, D], [T, matrices] and [T, D]"
        )
    y_TD = new_array(shape)
    _kernels.mix(list(x_TD), weights_TM, addend_TD, y_TD)
    return y_TD
