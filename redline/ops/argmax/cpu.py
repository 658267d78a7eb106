"""argmax on NumPy arrays by csrc/cpu/argmax.cpp."""

from __future__ import annotations

import numpy as np

from redline import _kernels
from redline.ops.arrays import F32, I32


def argmax(logits_RV: F32) -> I32:
    ids_R = np.empty(logits_RV.shape[0], np.int32)
    _kernels.argmax(logits_RV, ids_R)
    return ids_R
