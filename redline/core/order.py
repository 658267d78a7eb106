"""Who is admitted first: the order of the waiting queue.

Every order looks at the priority first (the lower number goes first), which is 0 for all unless the caller
says otherwise, and ends with the sequence id, so it is total and repeatable. Orders decide who joins the
batch. Those who run keep the order of first_come() among themselves: it says who gets blocks and budget first
and, from its end, who gives way when memory is short. Were that order to move, two sequences could preempt
each other forever.

Orders never change the tokens of anyone, only when they come.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from math import inf
from typing import Protocol

from redline.core.prefix import PrefixIndex
from redline.core.queue import Key, first_come
from redline.core.sequence import Sequence

TOKENS_PER_SECOND = 200.0  # of waiting: what a second counts against tokens, so that nobody starves
MAX_LOOKUPS = 64  # in the prefix index, per step


class Order(Protocol):
    """The order of the waiting queue."""

    preempts: bool  # who waits may take the place of one who runs with a lower priority

    def key(self, seq: Sequence) -> Key:
        """Where a waiting sequence stands; the lowest goes first."""

    def arrived(self, seq: Sequence) -> None:
        """A sequence has been added, for the first time."""

    def admitted(self, seq: Sequence, num_tokens: int) -> bool:
        """A sequence starts, for the first time, with so many tokens to compute. True: keys have changed."""

    def sampled(self, seqs: list[Sequence]) -> None:
        """Each of these got a token."""

    def ended(self, seq: Sequence) -> None:
        """A sequence has finished or was aborted."""

    def refresh(self, waiting: Iterable[Sequence]) -> bool:
        """A step is about to be planned. True: keys have changed."""


class FirstComeOrder:
    """First come, first served: no starvation, but short prompts wait behind long ones."""

    preempts = False

    def key(self, seq: Sequence) -> Key:
        return first_come(seq)

    def arrived(self, seq: Sequence) -> None:
        pass

    def admitted(self, seq: Sequence, num_tokens: int) -> bool:
        return False

    def sampled(self, seqs: list[Sequence]) -> None:
        pass

    def ended(self, seq: Sequence) -> None:
        pass

    def refresh(self, waiting: Iterable[Sequence]) -> bool:
        return False


class PriorityOrder(FirstComeOrder):
    """First come within a priority, and a higher priority takes the place of a lower one that runs.

    Urgent requests start at once in a full batch. Whoever is displaced computes its tokens again later,
    unless the prefix index still has them; a steady stream of urgent requests starves the others, which is
    its meaning.
    """

    preempts = True


class ShortestOrder(FirstComeOrder):
    """The shortest prompt first: the least mean time to first token when lengths differ.

    A second of waiting counts as TOKENS_PER_SECOND tokens, so a long prompt waits only so long for short ones
    that came later. Since all grow older alike, that is a fixed key.
    """

    def key(self, seq: Sequence) -> Key:
        length = len(seq.prompt_token_ids) + TOKENS_PER_SECOND * seq.arrival_s
        return (seq.priority, length, seq.arrival_s, seq.seq_id)


class DeadlineOrder(FirstComeOrder):
    """The earliest deadline first (Liu & Layland, 1973); those without one come last.

    Meets all deadlines if any order can; under overload it serves those that are late anyway.
    """

    def key(self, seq: Sequence) -> Key:
        deadline_s = inf if seq.deadline_s is None else seq.deadline_s
        return (seq.priority, deadline_s, seq.arrival_s, seq.seq_id)


class LongestPrefixOrder(FirstComeOrder):
    """The longest match in the prefix index first (Zheng et al., SGLang, 2024).

    Requests that share a beginning run one after the other, before it is evicted. As in ShortestOrder,
    waiting counts. Only the first MAX_LOOKUPS in the queue are looked up in a step; others count as without a
    match.
    """

    def __init__(self, prefix: PrefixIndex, block_size: int) -> None:
        self._prefix = prefix
        self._block_size = block_size
        self._num_matched: dict[int, int] = {}  # tokens, by sequence id

    def key(self, seq: Sequence) -> Key:
        num_matched = self._num_matched.get(seq.seq_id, 0)
        return (seq.priority, TOKENS_PER_SECOND * seq.arrival_s - num_matched, seq.arrival_s, seq.seq_id)

    def refresh(self, waiting: Iterable[Sequence]) -> bool:
        matched = {
            seq.seq_id: len(self._prefix.match(seq.token_ids, seq.salt)[0]) * self._block_size
            for seq in islice(waiting, MAX_LOOKUPS)
        }
        changed = matched != self._num_matched
        self._num_matched = matched
        return changed
