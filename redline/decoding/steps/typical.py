"""Typical: keep the tokens that say about as much as was to be expected."""

from __future__ import annotations

import numpy as np

from redline.decoding.random import Place
from redline.decoding.steps.candidates import Candidates
from redline.decoding.steps.nucleus import nucleus


class Typical:
    """Keeps the fewest tokens of `typical_p` together whose surprise is closest to the entropy.

    Meister et al., "Locally Typical Sampling", TACL 2023, arXiv:2202.00666. With H the entropy of the
    distribution, tokens are taken in the order of |-log p - H|. People seldom say the most likely word, they
    keep the flow of information even: it buys text that repeats itself less. The most likely token may be
    left out.
    """

    def __init__(self, typical_p: float) -> None:
        self._typical_p = typical_p

    def keep(self, candidates: Candidates, place: Place) -> Candidates:
        surprise_K = candidates.surprise()
        weight_K = candidates.weight_K
        entropy = np.sum(weight_K * surprise_K, dtype=np.float64) / candidates.mass
        distance_K = np.abs(surprise_K - np.float32(entropy))
        return candidates.only(nucleus(distance_K, weight_K, self._typical_p))
