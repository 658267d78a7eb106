"""RMSNorm with its weight: an op of its own, or the beginning of the matmul behind it."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from redline.ops.arrays import F32


class RMSNorm:
    """Root-mean-square norm over the last axis (Zhang & Sennrich, 2019)."""

    def __init__(self, weight_D: F32, eps: float) -> None:
        self.operands = weight_D, eps  # what a matmul takes as `norm`

    @classmethod
    def without_weight(cls, size: int, eps: float) -> Self:
        """A norm that was not trained: its weight is one."""
        return cls(np.ones(size, np.float32), eps)

    def __call__(self, ops: Any, x_TD: F32) -> F32:
        y_TD: F32 = ops.rmsnorm(x_TD, *self.operands)
        return y_TD


class NoNorm:
    """Takes the place of a norm where the input is read as it is."""

    operands = None


NO_NORM = NoNorm()
