"""Probing: when to draft although it does not pay, to learn whether it does by now.

Lookup finds its drafts for next to nothing and sees what they would have been worth. A model that drafts
costs time, so while it is off nobody knows: now and then a step drafts a little, after ever longer pauses
while that stays wrong.
"""

from __future__ import annotations

FIRST_PAUSE, LONGEST_PAUSE = 16, 512  # steps
NUM_TOKENS = 2  # of a probe; passes behind the first show what a pass costs


class Probing:
    """Counts the steps in which drafting was off."""

    def __init__(self) -> None:
        self._pause = FIRST_PAUSE
        self._num_steps = FIRST_PAUSE  # so that the first step probes

    def due(self) -> bool:
        """Whether a step without drafts should have some to learn from; counts the step."""
        self._num_steps += 1
        if self._num_steps <= self._pause:
            return False
        self._num_steps = 0
        return True

    def judged(self, right: bool) -> None:
        """A probe was right in full, or not."""
        self._pause = max(self._pause // 2, FIRST_PAUSE) if right else min(self._pause * 2, LONGEST_PAUSE)
