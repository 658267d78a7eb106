"""BeamConstraints: a constraint for each beam of a search, which follow the beams."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from redline.decoding.structured.bitmask import rule_out
from redline.decoding.structured.constraint import Constraint
from redline.errors import RequestError


class BeamConstraints:
    """Begins with the one beam that there is. `ends`: tokens that end an answer.

    Log-probabilities of beams are those among the tokens that may come, as they are when sampling.
    """

    def __init__(self, constraint: Constraint, ends: Collection[int]) -> None:
        self._each = [constraint]
        self._ends = sorted(ends)

    def rule_out(self, logits_RV: Any, rows: Sequence[int]) -> RequestError | None:
        """Make the logits of what may not come -inf in the row of each beam. Returns what has failed."""
        for constraint, row in zip(self._each, rows, strict=True):
            if not constraint.active:
                continue
            if constraint.ended:
                self._only_ends(logits_RV[row])
                continue
            [allowed] = constraint.allowed(())
            if allowed.failure is not None:
                return allowed.failure
            if allowed.mask_W is not None:
                rule_out(logits_RV[row], allowed.mask_W)
        return None

    def follow(self, parents: Sequence[int], token_ids: Sequence[int]) -> None:
        """The beams are now those of `parents`, each with one token more."""
        if not any(constraint.active for constraint in self._each):
            self._each = [self._each[0]] * len(parents)
            return
        followed = [self._each[parent].copy() for parent in parents]
        for constraint, token_id in zip(followed, token_ids, strict=True):
            constraint.push(token_id)
        self._each = followed

    def _only_ends(self, logits_V: Any) -> None:
        ends = [token_id for token_id in self._ends if token_id < len(logits_V)]
        kept = logits_V[ends].copy()
        logits_V[:] = -np.inf
        logits_V[ends] = kept
