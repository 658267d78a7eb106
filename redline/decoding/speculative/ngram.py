"""NgramProposer: what followed the last time that the same tokens stood here.

Prompt lookup decoding (Saxena, 2023; Yang et al., "Inference with Reference", 2023). The longest run of
tokens at the end of a sequence that occurred before, in its prompt or its output, says what comes next.
It costs a search per token and no model. It buys a lot where an answer repeats its prompt (editing,
summaries, code, JSON with its keys), and nothing where it does not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from redline.ops.arrays import I32


class NgramProposer:
    """Wants at least the last `shortest` tokens to have occurred, and of several places the one where most of
    the last `longest` did; of those, the latest."""

    def __init__(self, shortest: int = 2, longest: int = 4) -> None:
        assert 1 <= shortest <= longest, f"{shortest = } {longest = }"
        self._shortest, self._longest = shortest, longest

    def start(self, token_ids: Sequence[int]) -> NgramDrafter:
        drafter = NgramDrafter(self._shortest, self._longest)
        drafter.extend(token_ids)
        return drafter


class NgramDrafter:
    """The tokens of one sequence, searched for each draft: an index would take fifty times their memory."""

    def __init__(self, shortest: int, longest: int) -> None:
        self._shortest, self._longest = shortest, longest
        self._tokens: I32 = np.empty(64, np.int32)
        self._num_tokens = 0

    def extend(self, token_ids: Sequence[int]) -> None:
        end = self._num_tokens + len(token_ids)
        if end > len(self._tokens):
            self._tokens = np.resize(self._tokens, max(end, 2 * len(self._tokens)))
        self._tokens[self._num_tokens : end] = token_ids
        self._num_tokens = end

    def propose(self, most: int) -> list[int]:
        known = self._tokens[: self._num_tokens]
        place = self._place(known)
        if place is None:
            return []
        draft: list[int] = known[place : place + most].tolist()
        period = len(known) - place
        while len(draft) < most:  # it reached the end: the sequence is in a loop
            draft.append(draft[len(draft) - period])
        return draft

    def _place(self, known: I32) -> int | None:
        """Where what followed the best match begins."""
        if len(known) <= self._shortest:
            return None
        places = np.flatnonzero(known[:-1] == known[-1])
        if not len(places):
            return None
        for size in range(1, self._longest):
            longer = places[places >= size]
            longer = longer[known[longer - size] == known[-1 - size]]
            if not len(longer):
                return None if size < self._shortest else int(places[-1]) + 1
            places = longer
        return int(places[-1]) + 1
