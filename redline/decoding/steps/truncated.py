"""TruncatedDraw: one draw from what a list of truncations leaves."""

from __future__ import annotations

from redline.decoding.random import Place
from redline.decoding.steps.candidates import Candidates
from redline.decoding.steps.step import Drawn, Truncation


class TruncatedDraw:
    """Applies each in turn to what the one before kept."""

    def __init__(self, truncations: tuple[Truncation, ...]) -> None:
        self._truncations = truncations

    def draw(self, candidates: Candidates, place: Place, mu: float) -> Drawn:
        for truncation in self._truncations:
            candidates = truncation.keep(candidates, place)
        return Drawn(int(candidates.ids_K[candidates.draw(place.uniform())]), mu)
