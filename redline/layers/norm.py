"""RMSNorm with its weight, alone or fused with the residual sum in front of it."""

from __future__ import annotations

from typing import Any

from redline.ops.arrays import F32


class RMSNorm:
    """Root-mean-square norm over the last axis (Zhang & Sennrich, 2019)."""

    def __init__(self, weight_D: F32, eps: float) -> None:
        self.weight_D = weight_D
        self.eps = eps

    def __call__(self, ops: Any, x_TD: F32) -> F32:
        y_TD: F32 = ops.rmsnorm(x_TD, self.weight_D, self.eps)
        return y_TD

    def after_add(self, ops: Any, x_TD: F32, residual_TD: F32 | None) -> tuple[F32, F32]:
        """Norm of x + residual, and that sum: the residual of what follows. Before any residual it is x."""
        if residual_TD is None:
            return self(ops, x_TD), x_TD
        y_TD, sum_TD = ops.add_rmsnorm(x_TD, residual_TD, self.weight_D, self.eps)
        return y_TD, sum_TD
