"""longest_match(): where the end of one text occurs in another."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from redline.ops.arrays import I32


class Match(NamedTuple):
    """What follows the occurrence begins at `place`; `size` tokens agree, or as many as were looked at."""

    place: int
    size: int


def longest_match(text_T: I32, tail_T: I32, shortest: int, longest: int) -> Match | None:
    """The latest place where most of the last `longest` tokens of `tail_T` occur, and a token follows.

    What is negative is none. None: not even the last `shortest` occur. A search through the whole text, of a
    microsecond or two for a thousand tokens.
    """
    if not len(tail_T) or len(text_T) < 2:
        return None
    places = np.flatnonzero((text_T[:-1] == tail_T[-1]) & (text_T[1:] >= 0))
    size = 1 if len(places) else 0
    while size and size < min(longest, len(tail_T)):
        longer = places[places >= size]
        longer = longer[text_T[longer - size] == tail_T[-1 - size]]
        if not len(longer):
            break
        places, size = longer, size + 1
    return Match(int(places[-1]) + 1, size) if size >= shortest else None
