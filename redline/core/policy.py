"""Who goes first: first come, first served within a priority.

One order serves the waiting queue, the order of work in a step, and (from its end) the choice of a victim,
so an earlier sequence never waits for a later one, but for the budget of a step, of which decodes come first
(chunked_prefill.py). That rules out starvation among equal priorities; it hurts the mean latency when a few
long prompts stand in front of many short ones.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator

from redline.core.sequence import Sequence


def first_come(seq: Sequence) -> tuple[int, float, int]:
    """The sort key of a sequence; ids break ties, so the order is total and repeatable."""
    return (seq.priority, seq.arrival_s, seq.seq_id)


class SequenceQueue:
    """Sequences in the order of first_come()."""

    def __init__(self) -> None:
        self._seqs: list[Sequence] = []

    def __len__(self) -> int:
        return len(self._seqs)

    def __iter__(self) -> Iterator[Sequence]:
        return iter(self._seqs)

    @property
    def first(self) -> Sequence:
        return self._seqs[0]

    @property
    def last(self) -> Sequence:
        return self._seqs[-1]

    def add(self, seq: Sequence) -> None:
        """Put a sequence in its place."""
        insort(self._seqs, seq, key=first_come)

    def remove(self, seq: Sequence) -> None:
        """Take out a sequence that is in the queue."""
        index = bisect_left(self._seqs, first_come(seq), key=first_come)
        assert index < len(self._seqs) and self._seqs[index] is seq, f"{seq} is not in the queue"
        del self._seqs[index]
