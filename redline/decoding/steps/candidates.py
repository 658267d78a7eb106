"""Candidates: the tokens that may still be drawn and how likely each is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from redline.ops.arrays import F32

LOWEST = np.float32(-1e30)  # so that no weight of 0 meets an infinity


@dataclass(frozen=True, slots=True)
class Candidates:
    """K tokens in ascending order of ids, with unnormalised probabilities.

    logit_K: logits over temperature, the highest of the row is 0. weight_K: e to the power of it.
    """

    ids_K: NDArray[np.int64]
    logit_K: F32
    weight_K: F32

    @classmethod
    def of_row(cls, logits_V: F32, temperature: float) -> Candidates:
        """All tokens above -inf of a row without NaN or +inf that has some; `temperature` in float32 > 0."""
        ids_K = np.flatnonzero(logits_V > -np.inf)
        known_K = logits_V if len(ids_K) == len(logits_V) else logits_V[ids_K]
        with np.errstate(over="ignore"):  # of a temperature near 0
            logit_K = np.maximum((known_K - known_K.max()) / np.float32(temperature), LOWEST)
        return cls(ids_K, logit_K, np.exp(logit_K))

    def __len__(self) -> int:
        return len(self.ids_K)

    @property
    def mass(self) -> float:
        """The sum of the weights."""
        return float(np.sum(self.weight_K, dtype=np.float64))

    def surprise(self) -> F32:
        """-log p of each, in nats, of the distribution over these candidates."""
        surprise_K: F32 = np.float32(np.log(self.mass)) - self.logit_K
        return surprise_K

    def only(self, which: Any) -> Candidates:
        """Those of a mask, or at ascending indices."""
        return Candidates(self.ids_K[which], self.logit_K[which], self.weight_K[which])

    def draw(self, uniform: float) -> int:
        """The index at which the running mass, in order of ids, passes uniform * the whole."""
        running_K = np.cumsum(self.weight_K, dtype=np.float64)
        index = int(np.searchsorted(running_K, uniform * running_K[-1], side="right"))
        if index < len(self):
            return index
        return int(np.flatnonzero(self.weight_K)[-1])  # the product was rounded up to the whole
