"""LAuReL: a learned residual of low rank beside a sublayer (Menghani et al., 2024)."""

from __future__ import annotations

from typing import Any

from redline.layers.linear import Linear
from redline.layers.norm import RMSNorm
from redline.ops.arrays import F32


class Laurel:
    """x + norm(right(left(x))), `left` to few dimensions and `right` back."""

    def __init__(self, left: Linear, right: Linear, norm: RMSNorm) -> None:
        self.left = left
        self.right = right
        self.norm = norm

    def __call__(self, ops: Any, x_TD: F32) -> F32:
        low_rank_TD = self.right(ops, self.left(ops, x_TD))
        y_TD: F32 = ops.add(x_TD, self.norm(ops, low_rank_TD))
        return y_TD
