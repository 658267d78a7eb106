"""Pins: beginnings that stay in the cache for a time, whoever else wants the room.

Whoever knows that a beginning comes back (a system prompt, a document with more questions to come) can have
it kept: its blocks get an owner until the time is over, so they cannot be evicted. It buys a certain hit. It
hurts everyone else by the memory it takes, so pins together hold no more than a share of any pool, the one
that ends first giving way, and all of them give way before a request would not fit alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf

from redline.core.blocks import BlockPool
from redline.core.group_tables import GONE
from redline.core.prefix import Match

MOST = 0.5  # of the blocks of a pool


@dataclass(frozen=True, slots=True)
class _Pin:
    until_s: float
    blocks: tuple[tuple[int, int], ...]  # (group, block)


class Pins:
    """Owners of blocks that the prefix index holds too."""

    def __init__(self, pools: Sequence[BlockPool]) -> None:
        self._pools = pools
        self._pins: list[_Pin] = []  # the one that ends first comes first

    def __len__(self) -> int:
        return len(self._pins)

    def add(self, tables: Match, num_blocks: int, until_s: float) -> None:
        """Hold the first blocks of some tables, all of them indexed, until then by the scheduler's clock."""
        blocks = tuple(
            (group, block)
            for group, table in enumerate(tables)
            for block in table[:num_blocks]
            if block != GONE
        )
        if not blocks or any(self._count(blocks, group) > most for group, most in self._limits()):
            return
        for group, block in blocks:
            self._pools[group].share(block)
        self._pins.append(_Pin(until_s, blocks))
        self._pins.sort(key=lambda pin: pin.until_s)
        while any(self._count(self.blocks(), group) > most for group, most in self._limits()):
            self._release(self._pins[0])

    def expire(self, now_s: float) -> bool:
        """Let go of those whose time is over; False: there were none."""
        over = [pin for pin in self._pins if pin.until_s <= now_s]
        for pin in over:
            self._release(pin)
        return bool(over)

    def give_way(self) -> bool:
        """Let go of all; False: there are none."""
        return self.expire(inf)

    def blocks(self) -> Iterator[tuple[int, int]]:
        """(group, block) of everything held, as often as it is held."""
        for pin in list(self._pins):  # another thread may look
            yield from pin.blocks

    def _limits(self) -> list[tuple[int, float]]:
        return [(group, MOST * pool.num_blocks) for group, pool in enumerate(self._pools)]

    @staticmethod
    def _count(blocks: Iterator[tuple[int, int]] | tuple[tuple[int, int], ...], group: int) -> int:
        return len({block for each, block in blocks if each == group})

    def _release(self, pin: _Pin) -> None:
        self._pins.remove(pin)
        for group, block in pin.blocks:
            self._pools[group].release(block)
