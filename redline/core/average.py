"""An average that follows what is measured."""

from __future__ import annotations


def smoothed(before: float | None, now: float, decay: float) -> float:
    """The exponentially weighted average with one more measurement; `decay` is the weight of those before.

    None: there were none.
    """
    return now if before is None else decay * before + (1 - decay) * now
