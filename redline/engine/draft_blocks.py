"""DraftBlocks: which blocks hold keys and values of the draft model, and of which tokens.

The draft model's cache has a block for each of the target's and is led through by the target's block tables.
So the scheduler allocates for both, and what sequences share they share in both. But the draft model computes
later than the target, or not at all, so it is noted here what each block holds of it.
"""

from __future__ import annotations

from collections.abc import Sequence as Many
from dataclasses import dataclass, field

from redline.core.sequence import Sequence

ROOT = 0  # the key before the first block


@dataclass(slots=True)
class _Seen:
    """What was computed of a sequence, for the table that it had then."""

    num_preemptions: int
    table: list[int] = field(default_factory=list)
    num_tokens: int = 0  # of its known ones
    drafts: Many[int] = ()  # and of these, which came behind them
    keys: list[int] = field(default_factory=list)  # of its full blocks


class DraftBlocks:
    """A full block is known by a hash of its tokens and all before it. `group`: whose tables lead the way.

    Two texts of one hash, if that ever happens, give a draft that is wrong.
    """

    def __init__(self, block_size: int, group: int = 0) -> None:
        self._block_size = block_size
        self._group = group
        self._keys: dict[int, int] = {}  # of full blocks, by block
        self._seen: dict[int, _Seen] = {}

    def start(self, seq: Sequence) -> int:
        """The first position of a sequence whose keys and values must be computed; its last at the latest."""
        seen = self._seen.get(seq.seq_id)
        if seen is None or seen.num_preemptions != seq.num_preemptions:
            seen = self._seen[seq.seq_id] = _Seen(seq.num_preemptions)
            self._find(seen, seq, 0)
        came = seq.tokens_at(seen.num_tokens, len(seen.drafts))
        known = seen.num_tokens + _num_equal(seen.drafts, came)
        same = _num_equal(seen.table, seq.block_tables[self._group])
        if (
            same * self._block_size < known
        ):  # others are copies, made to be written, or blocks of the same text
            self._find(seen, seq, same)
            known = seen.num_tokens
        return min(known, seq.num_tokens - 1)

    def computed(self, seq: Sequence, start: int, end: int, drafts: Many[int] = ()) -> None:
        """Known tokens from `start` to `end` were computed, and behind them these drafts."""
        size, table, seen = self._block_size, seq.block_tables[self._group], self._seen[seq.seq_id]
        self.overwritten(seq, start, end + len(drafts))
        del seen.keys[start // size :]
        for index in range(len(seen.keys), end // size):
            self._keys[table[index]] = self._extend(seen.keys, seq)
        seen.table, seen.num_tokens, seen.drafts = list(table), end, drafts

    def copied(self, seq: Sequence, source: int, end: int) -> bool:
        """Whether positions up to `end`, in a block that is a copy of `source`, were computed in that one.

        If so, and all before them were too, they count as computed from now on.
        """
        start = self.start(seq)
        found = source in self._keys and start < end < start + self._block_size
        if found:
            self._seen[seq.seq_id].num_tokens = end
        return found

    def overwritten(self, seq: Sequence, start: int, end: int) -> None:
        """What its blocks held of positions from `start` to `end` is gone."""
        for block in seq.block_tables[self._group][start // self._block_size : -(-end // self._block_size)]:
            self._keys.pop(block, None)

    def ended(self, seq: Sequence) -> None:
        """Forget a sequence; its full blocks may be found by others."""
        self._seen.pop(seq.seq_id, None)

    def _find(self, seen: _Seen, seq: Sequence, first: int) -> None:
        """What was computed of its blocks from the one with index `first` on, by others maybe."""
        table, size = seq.block_tables[self._group], self._block_size
        seen.table, seen.drafts = list(table), ()
        del seen.keys[first:]
        for block in table[len(seen.keys) : seq.num_tokens // size]:
            if self._keys.get(block) != self._extend(seen.keys, seq):
                seen.keys.pop()
                break
        seen.num_tokens = len(seen.keys) * size

    def _extend(self, keys: list[int], seq: Sequence) -> int:
        """Append the key of the next block."""
        size = self._block_size
        before = keys[-1] if keys else ROOT
        keys.append(hash((before, *seq.tokens_at(len(keys) * size, size))))
        return keys[-1]


def _num_equal(first: Many[int], second: Many[int]) -> int:
    """The leading values that both have in common."""
    both = zip(first, second, strict=False)
    return next((place for place, (a, b) in enumerate(both) if a != b), min(len(first), len(second)))
