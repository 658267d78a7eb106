"""TopP: keep the nucleus, beside other steps; without any, the op `sample` does it."""

from __future__ import annotations

from redline.decoding.random import Place
from redline.decoding.steps.candidates import Candidates
from redline.decoding.steps.nucleus import nucleus


class TopP:
    """Keeps the fewest most likely tokens with a probability of `top_p` together.

    Holtzman et al., "The Curious Case of Neural Text Degeneration", ICLR 2020, arXiv:1904.09751.
    """

    def __init__(self, top_p: float) -> None:
        self._top_p = top_p

    def keep(self, candidates: Candidates, place: Place) -> Candidates:
        return candidates.only(nucleus(-candidates.logit_K, candidates.weight_K, self._top_p))
