"""known_ids on NumPy arrays by csrc/cpu/known_ids.cpp."""

from __future__ import annotations

import numpy as np

from redline import _kernels
from redline.ops.arrays import I32
from redline.ops.recording import new_array


def known_ids(ids_T: I32, limit: int) -> I32:
    known_T: I32 = new_array(ids_T.shape).view(np.int32)
    _kernels.known_ids(ids_T, limit, known_T)
    return known_T
