"""TopNSigma: keep the logits that stand out of the noise."""

from __future__ import annotations

import numpy as np

from redline.decoding.random import Place
from redline.decoding.steps.candidates import Candidates


class TopNSigma:
    """Keeps the tokens whose logit is at least the highest minus n standard deviations of all logits.

    Tang et al., "Top-nsigma: Not All Logits Are You Need", 2024, arXiv:2411.07641. Most logits are noise
    around a mean, a few stand out of it. Temperature stretches both alike, so the set does not depend on it:
    high temperatures stay coherent. Tokens that were ruled out do not count.
    """

    def __init__(self, num_sigmas: float) -> None:
        self._num_sigmas = num_sigmas

    def keep(self, candidates: Candidates, place: Place) -> Candidates:
        sigma = np.std(candidates.logit_K, dtype=np.float64)
        return candidates.only(candidates.logit_K >= candidates.logit_K.max() - self._num_sigmas * sigma)
