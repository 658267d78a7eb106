"""sample on NumPy arrays by csrc/cpu/sample.cpp."""

from __future__ import annotations

import numpy as np

from redline import _kernels
from redline.errors import KernelError
from redline.ops.arrays import F32, F64, I32


def sample(
    logits_RV: F32, temperature_R: F32, top_k_R: I32, top_p_R: F32, min_p_R: F32, uniform_R: F64
) -> I32:
    rows = logits_RV.shape[0]
    if not len(temperature_R) == len(top_k_R) == len(top_p_R) == len(min_p_R) == len(uniform_R) == rows:
        raise KernelError(f"sample: {rows} rows of logits need {rows} values of each parameter")
    ids_R = np.empty(rows, np.int32)
    _kernels.sample(logits_RV, temperature_R, top_k_R, top_p_R, min_p_R, uniform_R, ids_R)
    return ids_R
