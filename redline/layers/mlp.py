"""Gated MLP: down(act(gate(x)) * up(x)), with gate and up merged into one projection (Shazeer, 2020)."""

from __future__ import annotations

from typing import Any

from redline.layers.linear import Linear
from redline.ops.arrays import F32


class GatedMLP:
    """`activation` is "silu", "gelu" or "gelu_tanh"."""

    def __init__(self, gate_up: Linear, down: Linear, activation: str) -> None:
        self.gate_up = gate_up
        self.down = down
        self.activation = activation

    def __call__(self, ops: Any, x_TD: F32) -> F32:
        gate_up_T2F = self.gate_up(ops, x_TD)
        if self.activation == "silu":
            y_TF: F32 = ops.silu_mul(gate_up_T2F)
        else:
            y_TF = ops.gelu_mul(gate_up_T2F, self.activation == "gelu_tanh")
        return self.down(ops, y_TF)
