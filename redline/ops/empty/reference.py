"""The meaning of empty."""

from __future__ import annotations

import numpy as np

from redline.ops.arrays import F32


def empty(shape: tuple[int, ...]) -> F32:
    return np.empty(shape, np.float32)
