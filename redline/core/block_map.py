"""block_map: what every block of a pool is used for, small enough to draw and to send twice a second."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from redline.core.blocks import BlockPool

FREE, CACHED, USED, SHARED, PINNED = range(5)
NAMES = ("free", "cached", "used", "shared", "pinned")
MAX_CELLS, LEAST_CELLS = 4096, 512
_RUN = re.compile(rb"(.)\1*", re.DOTALL)
# Of a block with so many owners, 3 for more, and (bit 0) the prefix index among them or not.
_OWNERS = bytes(2 * min(count, 3) for count in range(256))
_STATES = bytes([FREE, FREE, USED, CACHED, SHARED, USED, SHARED, SHARED]).ljust(256, b"\0")


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockMap:
    """`counts` has the blocks by NAMES. `runs` are cells that are alike, in order: (index in NAMES, cells).

    A cell stands for `blocks_per_cell` blocks and shows the busiest of them. Free blocks at the end have no
    cells.
    free: without an owner; cached: of the prefix index alone; used: of a sequence; shared: of several;
    pinned: held by a pin (pins.py).
    """

    num_blocks: int
    block_size: int
    window: int
    counts: dict[str, int]
    blocks_per_cell: int
    runs: list[tuple[int, int]]


def block_map(pool: BlockPool, pinned: Collection[int]) -> BlockMap:
    """The blocks of a pool now. May be called from another thread than the one that changes it."""
    states = _states(pool, pinned)
    shown = states.rstrip(b"\0").ljust(min(LEAST_CELLS, len(states)), b"\0")
    per_cell = -(-len(shown) // MAX_CELLS)
    return BlockMap(
        num_blocks=pool.num_blocks,
        block_size=pool.block_size,
        window=pool.window,
        counts={name: states.count(state) for state, name in enumerate(NAMES)},
        blocks_per_cell=per_cell,
        runs=[(run[0][0], len(run[0])) for run in _RUN.finditer(_busiest(shown, per_cell))],
    )


def _states(pool: BlockPool, pinned: Collection[int]) -> bytes:
    """A byte for each block, without a loop over them: there may be a hundred thousand."""
    refcounts, kept = pool.owners()
    try:
        counts = bytes(refcounts)
    except ValueError:  # some have more owners than fit
        counts = bytes(min(refs, 255) for refs in refcounts)
    both = int.from_bytes(counts.translate(_OWNERS)) | int.from_bytes(bytes(kept))
    states = bytearray(both.to_bytes(len(counts)).translate(_STATES))
    for block in pinned:
        states[block] = PINNED
    return bytes(states)


def _busiest(states: bytes, per_cell: int) -> bytes:
    """The greatest of every `per_cell` states."""
    if per_cell == 1:
        return states
    padded = states + bytes(-len(states) % per_cell)
    return bytes(map(max, *(padded[place::per_cell] for place in range(per_cell))))
