"""Jump-ahead decoding: where a grammar leaves no choice, the tokens that must come skip the model.

As in SGLang (Zheng et al., 2024, arXiv:2312.07104). After `{"name` nothing but `": "` can follow, and for a
whole key that is several tokens. They are computed in one step as drafts that cannot be wrong: at each place
the mask has a single token, so the result is the same with and without. It buys the share of forced tokens
where a step of one row costs nearly what one of several does; with a full batch of 64 it buys little.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from redline.decoding.structured.constraint import Constraint


class Jump(Protocol):
    """Says which drafts of a constrained choice to compute."""

    def draft(self, constraint: Constraint, proposed: Sequence[int], most: int) -> list[int]:
        """At most so many tokens that may come next, of those that speculation proposed or others."""


class JumpAhead:
    """Forced tokens before guesses."""

    def draft(self, constraint: Constraint, proposed: Sequence[int], most: int) -> list[int]:
        forced = constraint.forced()[:most]
        if len(proposed) > len(forced) and list(proposed[: len(forced)]) == forced:
            return _accepted(constraint, proposed)
        return forced


class NoJumpAhead:
    """Guesses alone."""

    def draft(self, constraint: Constraint, proposed: Sequence[int], most: int) -> list[int]:
        return _accepted(constraint, proposed)


def _accepted(constraint: Constraint, proposed: Sequence[int]) -> list[int]:
    if proposed and proposed[0] < 0:  # unknown yet: a model drafts them once the step is planned
        return list(proposed)
    return list(proposed[: constraint.accepts(proposed)])
