"""Pins: beginnings that stay in the cache for a time, whoever else wants the room.

Whoever knows that a beginning comes back (a system prompt, a document with more questions to come) can have
it kept: its blocks get an owner until the time is over, so they cannot be evicted. It buys a certain hit. It
hurts everyone else by the memory it takes, so pins together hold no more than a share of any pool, the one
that ends first giving way, and all of them give way before a request would not fit alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from math import inf

from redline.core.blocks import BlockPool
from redline.core.group_tables import GONE
from redline.core.prefix import Match

MOST = 0.5  # of the blocks of a pool

_Blocks = tuple[tuple[int, int], ...]  # (group, block)


class Pins:
    """Owners of blocks that the prefix index holds too. A beginning that is pinned again has one pin."""

    def __init__(self, pools: Sequence[BlockPool]) -> None:
        self._pools = pools
        self._until_s: dict[_Blocks, float] = {}
        self._pinned: list[Counter[int]] = [Counter() for _ in pools]  # of each group: pins by block

    def __len__(self) -> int:
        return len(self._until_s)

    def add(self, tables: Match, num_blocks: int, until_s: float) -> None:
        """Hold the first blocks of some tables, all of them indexed, until then by the scheduler's clock."""
        blocks = tuple(
            (group, block)
            for group, table in enumerate(tables)
            for block in table[:num_blocks]
            if block != GONE
        )
        if blocks in self._until_s:
            self._until_s[blocks] = max(self._until_s[blocks], until_s)
            return
        sizes = Counter(group for group, _ in blocks)
        if not blocks or any(sizes[group] > most for group, most in self._limits()):
            return
        for group, block in blocks:
            self._pools[group].share(block)
            self._pinned[group][block] += 1
        self._until_s[blocks] = until_s
        while any(len(self._pinned[group]) > most for group, most in self._limits()):
            self._release(min(self._until_s, key=self._until_s.__getitem__))

    def expire(self, now_s: float) -> bool:
        """Let go of those whose time is over; False: there were none."""
        over = [blocks for blocks, until_s in self._until_s.items() if until_s <= now_s]
        for blocks in over:
            self._release(blocks)
        return bool(over)

    def give_way(self) -> bool:
        """Let go of all; False: there are none."""
        return self.expire(inf)

    def blocks(self) -> Iterator[tuple[int, int]]:
        """(group, block) of everything held, as often as it is held."""
        for blocks in list(self._until_s):  # another thread may look
            yield from blocks

    def _limits(self) -> list[tuple[int, float]]:
        return [(group, MOST * pool.num_blocks) for group, pool in enumerate(self._pools)]

    def _release(self, blocks: _Blocks) -> None:
        del self._until_s[blocks]
        for group, block in blocks:
            self._pools[group].release(block)
            self._pinned[group][block] -= 1
            if not self._pinned[group][block]:
                del self._pinned[group][block]
