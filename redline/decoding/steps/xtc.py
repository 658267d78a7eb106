"""Xtc: exclude top choices, now and then."""

from __future__ import annotations

import numpy as np

from redline.decoding.random import EXCLUDE_TOP, Place
from redline.decoding.steps.candidates import Candidates


class Xtc:
    """With a chance of `probability`, leaves out all tokens from `threshold` up but the least likely.

    Weidmann, "Exclude Top Choices", 2024 (text-generation-webui #6335). Where several continuations are
    good, it takes another than the most obvious; where only one is, nothing happens. It buys variety without
    the noise of a high temperature. Above a threshold of 0.5 it never acts.
    """

    def __init__(self, probability: float, threshold: float) -> None:
        self._probability = probability
        self._threshold = threshold

    def keep(self, candidates: Candidates, place: Place) -> Candidates:
        if place.uniform(EXCLUDE_TOP) >= self._probability:
            return candidates
        weight_K = candidates.weight_K
        top_N = np.flatnonzero((weight_K >= self._threshold * candidates.mass) & (weight_K > 0.0))
        if len(top_N) < 2:
            return candidates
        mask_K = np.ones(len(candidates), bool)
        mask_K[top_N] = False
        mask_K[top_N[np.argmin(weight_K[top_N])]] = True
        return candidates.only(mask_K)
