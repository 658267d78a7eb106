"""SparseMLP: a gated MLP most of whose gates are closed (You et al., Spark Transformer, 2025)."""

from __future__ import annotations

from typing import Any

from redline.layers.linear import Linear
from redline.layers.norm import RMSNorm
from redline.ops.arrays import F32


class SparseMLP:
    """GatedMLP with gates of 0 except those that exceed their mean by `deviations` standard deviations."""

    def __init__(self, gate_up: Linear, down: Linear, activation: str, deviations: float) -> None:
        self.gate_up = gate_up
        self.down = down
        self.activation = activation
        self.deviations = deviations

    def __call__(self, ops: Any, x_TD: F32, norm: RMSNorm, residual_TD: F32 | None = None) -> F32:
        """The MLP of norm(x), plus the residual if there is one."""
        both_T2F = self.gate_up(ops, x_TD, norm=norm.operands)
        size = both_T2F.shape[1] // 2
        gate_TF = ops.gaussian_topk(both_T2F[:, :size], self.deviations)
        y_TF = ops.gate_mul(gate_TF, both_T2F[:, size:], self.activation)
        return self.down(ops, y_TF, addend=residual_TD)
