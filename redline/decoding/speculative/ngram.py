"""NgramProposer: what followed the last time that the same tokens stood here.

Prompt lookup decoding (Saxena, 2023; Yang et al., "Inference with Reference", 2023). The longest run of
tokens at the end of a sequence that occurred before, in its prompt or its output, says what comes next. It
costs a search per token and no model. It buys a lot where an answer repeats its prompt (editing, summaries,
code, JSON with its keys), and nothing where it does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice

import numpy as np

from redline.decoding.speculative.match import Match, all_matches, longest_match
from redline.decoding.speculative.tree import distinct
from redline.ops.arrays import I32

MOST_OTHERS = 32  # occurrences that are looked at for branches


class NgramProposer:
    """Wants at least the last `shortest` tokens to have occurred, and looks at the last `longest`."""

    def __init__(self, shortest: int = 2, longest: int = 4) -> None:
        assert 1 <= shortest <= longest, f"{shortest = } {longest = }"
        self._shortest, self._longest = shortest, longest

    def start(self, token_ids: Sequence[int], owner: str) -> NgramDrafter:
        drafter = NgramDrafter(self._shortest, self._longest)
        drafter.extend(token_ids)
        return drafter

    def ended(self, token_ids: Sequence[int], owner: str) -> None:
        pass


class NgramDrafter:
    """The tokens of one sequence, searched for each draft: an index would take fifty times their memory."""

    def __init__(self, shortest: int, longest: int) -> None:
        self._shortest, self._longest = shortest, longest
        self._tokens: I32 = np.empty(64, np.int32)
        self._num_tokens = 0

    @property
    def known_T(self) -> I32:
        """All tokens so far."""
        return self._tokens[: self._num_tokens]

    def extend(self, token_ids: Sequence[int]) -> None:
        end = self._num_tokens + len(token_ids)
        if end > len(self._tokens):
            self._tokens = np.resize(self._tokens, max(end, 2 * len(self._tokens)))
        self._tokens[self._num_tokens : end] = token_ids
        self._num_tokens = end

    def propose(self, most: int) -> list[int]:
        match = self.match()
        return self.follow(match.place, most) if match else []

    def propose_tree(self, most: int, count: int) -> list[list[int]]:
        first = self.propose(most)
        return distinct(chain([first], self.others(most)), count) if first else []

    def others(self, most: int) -> Iterator[list[int]]:
        """What followed other occurrences, that of propose() among them; the longest matches first."""
        places = all_matches(self.known_T, self.known_T, self._shortest, self._longest)
        return (self.follow(place, most) for place in islice(places, MOST_OTHERS))

    def match(self) -> Match | None:
        """Where the end of the sequence occurred before."""
        return longest_match(self.known_T, self.known_T, self._shortest, self._longest)

    def follow(self, place: int, most: int) -> list[int]:
        """The tokens from the place of a match on; at their end they repeat: the sequence is in a loop."""
        known_T = self.known_T
        draft: list[int] = known_T[place : place + most].tolist()
        period = len(known_T) - place
        while len(draft) < most:
            draft.append(draft[len(draft) - period])
        return draft
