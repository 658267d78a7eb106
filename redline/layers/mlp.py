"""Gated MLP: down(act(gate(norm(x))) * up(norm(x))) (Shazeer, 2020).

Gate and up are one projection, which norms its input and gates its output in passing.
"""

from __future__ import annotations

from typing import Any

from redline.layers.linear import Linear
from redline.layers.norm import RMSNorm
from redline.ops.arrays import F32


class GatedMLP:
    """`activation` is "silu", "gelu" or "gelu_tanh"."""

    def __init__(self, gate_up: Linear, down: Linear, activation: str) -> None:
        self.gate_up = gate_up
        self.down = down
        self.activation = activation

    def __call__(self, ops: Any, x_TD: F32, norm: RMSNorm, residual_TD: F32 | None = None) -> F32:
        """The MLP of norm(x), plus the residual if there is one."""
        y_TF = self.gate_up(ops, x_TD, norm=norm.operands, gate=self.activation)
        return self.down(ops, y_TF, addend=residual_TD)
