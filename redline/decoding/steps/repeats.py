"""Repeats: where the end of a growing list of tokens occurred before, and how much of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from redline.ops.arrays import I32


class Repeats:
    """tokens_T, and lengths_T: so many tokens before each of them equal as many at the end of the list.

    Never changed: a token more makes a new one, in one pass over the list. So guesses cost nothing to take
    back.
    """

    __slots__ = ("tokens_T", "lengths_T")

    def __init__(self, tokens_T: I32, lengths_T: I32) -> None:
        self.tokens_T = tokens_T
        self.lengths_T = lengths_T

    @classmethod
    def of(cls, token_ids: Sequence[int], num_comparable: int) -> Repeats:
        """Of a list, not empty, of which the last `num_comparable` tokens may be part of a repetition."""
        tokens_T = np.array(token_ids, np.int32)
        if not num_comparable:
            return cls(tokens_T, np.zeros_like(tokens_T))
        common = _common_with_start(tokens_T[::-1].tolist())
        lengths_T = np.array([0, *common[:0:-1]], np.int32)
        return cls(tokens_T, np.minimum(lengths_T, num_comparable))

    def after(self, token_id: int) -> Repeats:
        """With one token more: a repetition goes on where the same token came, and ends elsewhere."""
        lengths_T = np.zeros(len(self.tokens_T) + 1, np.int32)
        np.multiply(self.lengths_T + 1, self.tokens_T == token_id, out=lengths_T[1:])
        return Repeats(np.append(self.tokens_T, np.int32(token_id)), lengths_T)

    def broken_by(self, token_id: int) -> Repeats:
        """With one token more that no repetition reaches over."""
        tokens_T = np.append(self.tokens_T, np.int32(token_id))
        return Repeats(tokens_T, np.zeros_like(tokens_T))

    def followers(self, least: int, window: int) -> tuple[I32, I32]:
        """Tokens that once followed `least` tokens of the end or more, and how many at most; by ids.

        Only the last `window` tokens are looked at.
        """
        start = max(len(self.tokens_T) - window, 0)
        lengths_T = np.minimum(self.lengths_T[start:], np.arange(len(self.tokens_T) - start, dtype=np.int32))
        places = np.flatnonzero(lengths_T >= least)
        ids, which = np.unique(self.tokens_T[start:][places], return_inverse=True)
        longest = np.zeros(len(ids), np.int32)
        np.maximum.at(longest, which, lengths_T[places])
        return ids, longest


def _common_with_start(tokens: list[int]) -> list[int]:
    """For each place, how many tokens from there on equal those from the start on; 0 for the start itself.

    The Z-algorithm (Gusfield, "Algorithms on Strings, Trees and Sequences", 1997): linear, whatever the
    tokens.
    """
    count = len(tokens)
    common = [0] * count
    left = right = 0  # the match found so far that reaches farthest
    for place in range(1, count):
        length = min(right - place, common[place - left]) if place < right else 0
        while place + length < count and tokens[length] == tokens[place + length]:
            length += 1
        common[place] = length
        if place + length > right:
            left, right = place, place + length
    return common
