"""AltUp: several residual streams, of which each layer computes one and predicts the others.

Alternating Updates (Baykal et al., NeurIPS 2023): the state of a token is N vectors. A layer's attention and
MLP see the active one; numbers per token, which a router finds, say how the streams move before and after.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from redline.layers.linear import Linear
from redline.layers.norm import RMSNorm
from redline.ops.arrays import F32


class AltUp:
    """The streams around one layer; `router` is [N, D], `prediction` [N * N, N], `correction` [N, N]."""

    def __init__(
        self, active: int, router: Linear, router_norm: RMSNorm, prediction: Linear, correction: Linear
    ) -> None:
        self.active = active
        self.router = router
        self.router_norm = router_norm
        self.prediction = prediction
        ones_N = np.ones(correction.weight.num_outputs, np.float32)
        self.correction = Linear(
            correction.weight, ones_N
        )  # coefficients are trained as differences from one

    def predict(self, ops: Any, streams_TD: Sequence[F32]) -> list[F32]:
        """What the layer will find in each stream: that stream, and what the router mixes into it."""
        mixed_TNN = self.prediction(ops, self._route(ops, streams_TD[self.active]))
        size = len(streams_TD)
        return [
            ops.mix(streams_TD, mixed_TNN[:, n * size : (n + 1) * size], streams_TD[n]) for n in range(size)
        ]

    def correct(self, ops: Any, predicted_TD: Sequence[F32], activated_TD: F32) -> list[F32]:
        """The streams after the layer made `activated` of the active one: each moves a part of the way."""
        moves_TN = self.correction(ops, self._route(ops, activated_TD))
        innovation_TD = ops.add(activated_TD, ops.scale(predicted_TD[self.active], -1.0))
        return [
            ops.mix([innovation_TD], moves_TN[:, n : n + 1], stream_TD)
            for n, stream_TD in enumerate(predicted_TD)
        ]

    def _route(self, ops: Any, x_TD: F32) -> F32:
        """N numbers in -1..1 per token."""
        routed_TN = self.router(ops, x_TD, norm=self.router_norm.operands)
        y_TN: F32 = ops.softcap(routed_TN, 1.0)  # tanh
        return y_TN
