"""MinP: keep what is not far less likely than the best, beside other steps; else the op `sample` does it."""

from __future__ import annotations

from redline.decoding.random import Place
from redline.decoding.steps.candidates import Candidates


class MinP:
    """Keeps tokens of at least `min_p` times the probability of the most likely one that is left.

    Nguyen et al., "Turning Up the Heat: Min-p Sampling", ICLR 2025, arXiv:2407.01082.
    """

    def __init__(self, min_p: float) -> None:
        self._min_p = min_p

    def keep(self, candidates: Candidates, place: Place) -> Candidates:
        return candidates.only(candidates.weight_K >= self._min_p * candidates.weight_K.max())
