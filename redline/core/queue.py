"""SequenceQueue: sequences in an order that a key function gives. Those who wait, and those of the batch."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Container, Iterator

from redline.core.sequence import Sequence

Key = tuple[float, ...]


def first_come(seq: Sequence) -> Key:
    """First come, first served within a priority: the order of those who run. A gang is together in it."""
    return (seq.priority, seq.arrival_s, seq.lead_id, seq.seq_id)


class SequenceQueue:
    """Sorted by `key`, which must give no two sequences the same place (end it with the id).

    A key is worked out when a sequence comes in and when sort() is called, not in between.
    """

    def __init__(self, key: Callable[[Sequence], Key]) -> None:
        self._key = key
        self._keys: dict[int, Key] = {}  # by sequence id
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
        self._keys[seq.seq_id] = self._key(seq)
        insort(self._seqs, seq, key=self._known_key)

    def remove(self, seq: Sequence) -> None:
        """Take out a sequence that is in the queue."""
        assert seq.seq_id in self._keys, f"{seq} is not in the queue"
        index = bisect_left(self._seqs, self._known_key(seq), key=self._known_key)
        assert index < len(self._seqs) and self._seqs[index] is seq, f"{seq} is not in its place"
        del self._seqs[index], self._keys[seq.seq_id]

    def sort(self) -> None:
        """Work out all keys anew."""
        self._keys = {seq.seq_id: self._key(seq) for seq in self._seqs}
        self._seqs.sort(key=self._known_key)

    def _known_key(self, seq: Sequence) -> Key:
        return self._keys[seq.seq_id]


class WaitingQueue(SequenceQueue):
    """The sequences that wait for a place or for memory."""

    def __init__(self, key: Callable[[Sequence], Key]) -> None:
        super().__init__(key)
        self._of_gangs: dict[int, Sequence] = {}

    def add(self, seq: Sequence) -> None:
        super().add(seq)
        if seq.gang is not None:
            self._of_gangs[seq.seq_id] = seq

    def remove(self, seq: Sequence) -> None:
        super().remove(seq)
        self._of_gangs.pop(seq.seq_id, None)

    def awaited(self, held: Container[int]) -> Sequence | None:
        """The first to have come of those whom others of their gang wait for, without some."""
        found = (seq for seq in self._of_gangs.values() if seq.is_awaited and seq.seq_id not in held)
        return min(found, key=first_come, default=None)


class RunningQueue(SequenceQueue):
    """The sequences of the batch, and how many of its places they take."""

    num_places = 0

    def num_wanted(self, seq: Sequence) -> int:
        """The places that a sequence would take: none if one of its gang runs, else those of all of it."""
        if seq.gang is None:
            return 1
        return 0 if seq.gang.num_running else seq.gang.num_places

    def add(self, seq: Sequence) -> None:
        self.num_places += self.num_wanted(seq)
        if seq.gang is not None:
            seq.gang.num_running += 1
        super().add(seq)

    def remove(self, seq: Sequence) -> None:
        super().remove(seq)
        if seq.gang is not None:
            seq.gang.num_running -= 1
        self.num_places -= self.num_wanted(seq)
