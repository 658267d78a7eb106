"""HistoryProposer: what followed the same tokens in this text, or in an earlier answer to the same owner.

As suffix decoding (Oliaro et al., "SuffixDecoding", 2024), which keeps suffix trees of prompts and
outputs: agents and pipelines ask nearly the same again and again. Here earlier answers are one array of
the latest tokens, searched like the sequence itself: in 32,768 tokens that takes some 20 microseconds,
where a suffix automaton in Python would take a thousand times the memory. Whoever matched longer
proposes. No owner is proposed a token of another's: how fast an answer comes tells who got the like before.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from redline.decoding.speculative.match import all_matches, longest_match
from redline.decoding.speculative.ngram import MOST_OTHERS, NgramDrafter
from redline.ops.arrays import I32

MAX_OWNERS = 64  # whose answers are kept; the one that was away longest goes
END = -1  # behind each answer: no token


class HistoryProposer:
    """Keeps the last `num_tokens` of the answers to each owner."""

    def __init__(self, shortest: int = 2, longest: int = 8, num_tokens: int = 32_768) -> None:
        assert 1 <= shortest <= longest, f"{shortest = } {longest = }"
        self._shortest, self._longest, self._num_tokens = shortest, longest, num_tokens
        self._answers: OrderedDict[str, I32] = OrderedDict()

    def start(self, token_ids: Sequence[int], owner: str) -> HistoryDrafter:
        drafter = HistoryDrafter(self, owner, self._shortest, self._longest)
        drafter.extend(token_ids)
        return drafter

    def ended(self, token_ids: Sequence[int], owner: str) -> None:
        before = self._answers.get(owner, np.empty(0, np.int32))
        added = np.array([*token_ids, END], np.int32)
        self._answers[owner] = np.concatenate([before, added])[-self._num_tokens :]
        self._answers.move_to_end(owner)
        if len(self._answers) > MAX_OWNERS:
            self._answers.popitem(last=False)

    def answers_T(self, owner: str) -> I32 | None:
        """Earlier answers to an owner, each with END behind it."""
        return self._answers.get(owner)


class HistoryDrafter(NgramDrafter):
    """One sequence, and the answers that its owner got before."""

    def __init__(self, proposer: HistoryProposer, owner: str, shortest: int, longest: int) -> None:
        super().__init__(shortest, longest)
        self._proposer, self._owner = proposer, owner

    def propose(self, most: int) -> list[int]:
        own = self.match()
        earlier_T = self._proposer.answers_T(self._owner)
        size = own.size if own else 0
        if earlier_T is not None and size < self._longest:
            least = max(self._shortest, size + 1)
            match = longest_match(earlier_T, self.known_T, least, self._longest)
            if match:
                return _before_end(earlier_T, match.place, most)
        return self.follow(own.place, most) if own else []

    def others(self, most: int) -> Iterator[list[int]]:
        """Those of the sequence come before those of earlier answers."""
        yield from super().others(most)
        earlier_T = self._proposer.answers_T(self._owner)
        if earlier_T is not None:
            places = all_matches(earlier_T, self.known_T, self._shortest, self._longest)
            yield from (_before_end(earlier_T, place, most) for place in islice(places, MOST_OTHERS))


def _before_end(earlier_T: I32, place: int, most: int) -> list[int]:
    """What follows in the same answer."""
    draft: list[int] = earlier_T[place : place + most].tolist()
    return draft[: draft.index(END)] if END in draft else draft
