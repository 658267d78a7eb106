"""TopK: keep the k most likely tokens, beside other steps; without any, the op `sample` does it."""

from __future__ import annotations

import numpy as np

from redline.decoding.random import Place
from redline.decoding.steps.candidates import Candidates


class TopK:
    """Keeps exactly k tokens, of equally likely ones the lower id (Fan et al., 2018, arXiv:1805.04833)."""

    def __init__(self, k: int) -> None:
        self._k = k

    def keep(self, candidates: Candidates, place: Place) -> Candidates:
        if self._k >= len(candidates):
            return candidates
        lowest = np.partition(candidates.logit_K, -self._k)[-self._k]
        mask_K = candidates.logit_K > lowest
        ties = np.flatnonzero(candidates.logit_K == lowest)
        mask_K[ties[: self._k - np.count_nonzero(mask_K)]] = True
        return candidates.only(mask_K)
