"""longest_match(): where the end of one text occurs in another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

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
    latest, size = 0, 0
    for places in _ends(text_T, tail_T, longest):
        latest, size = int(places[-1]), size + 1
    return Match(latest + 1, size) if size >= shortest else None


def all_matches(text_T: I32, tail_T: I32, shortest: int, longest: int) -> Iterator[int]:
    """The places of all matches, those of the longest first, of these the latest; each once."""
    by_size = list(_ends(text_T, tail_T, longest))
    seen: set[int] = set()
    for places in reversed(by_size[shortest - 1 :]):
        for place in reversed(places.tolist()):
            if place not in seen:
                seen.add(place)
                yield place + 1


def _ends(text_T: I32, tail_T: I32, longest: int) -> Iterator[Any]:
    """Where the last token of a match is, and another behind it: of matches of one token, of two, ..."""
    if not len(tail_T) or len(text_T) < 2:
        return
    places = np.flatnonzero((text_T[:-1] == tail_T[-1]) & (text_T[1:] >= 0))
    size = 1
    while len(places):
        yield places
        if size == min(longest, len(tail_T)):
            return
        longer = places[places >= size]
        places, size = longer[text_T[longer - size] == tail_T[-1 - size]], size + 1
