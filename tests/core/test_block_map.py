"""The map of blocks against what a pool says of each of them."""

import random

from redline.core.block_map import LEAST_CELLS, NAMES, block_map
from redline.core.blocks import BlockPool

MOST = 400


def state_of(pool, block, pinned):
    refs, kept = pool.refcount(block), pool.is_kept(block)
    if refs == 0:
        return "free"
    if block in pinned:
        return "pinned"
    return {0: "cached", 1: "used"}.get(refs - kept, "shared")


def busy_pool(num_blocks, num_taken, seed):
    rng = random.Random(seed)
    pool = BlockPool(num_blocks, 16)
    taken = [pool.allocate() for _ in range(num_taken)]
    for block in taken:
        for _ in range(rng.choice([0, 0, 1, 2, 300])):
            pool.share(block)
        if rng.random() < 0.5:
            pool.keep(block)
            if pool.refcount(block) == 2 and rng.random() < 0.5:
                pool.release(block)
        elif pool.refcount(block) == 1 and rng.random() < 0.3:
            pool.release(block)
    pinned = {block for block in taken if pool.refcount(block) and rng.random() < 0.1}
    return pool, pinned


def drawn(found):
    return [NAMES[state] for state, length in found.runs for _ in range(length)]


def test_every_block_is_what_the_pool_says():
    for seed in range(20):
        pool, pinned = busy_pool(300, 200, seed)
        found = block_map(pool, pinned)
        states = [state_of(pool, block, pinned) for block in range(300)]
        assert drawn(found) == states and found.blocks_per_cell == 1
        assert found.counts == {name: states.count(name) for name in NAMES}
        assert all(found.counts[name] for name in NAMES), "the test makes every state"
        assert all(first[0] != second[0] for first, second in zip(found.runs, found.runs[1:], strict=False))


def test_a_cell_of_several_blocks_shows_the_busiest(monkeypatch):
    monkeypatch.setattr("redline.core.block_map.MAX_CELLS", MOST)
    pool, pinned = busy_pool(3 * MOST - 1, 3 * MOST - 1, 7)
    found = block_map(pool, pinned)
    states = [NAMES.index(state_of(pool, block, pinned)) for block in range(pool.num_blocks)]
    shown = len(bytes(states).rstrip(b"\0"))
    assert found.blocks_per_cell == 3
    cells = [NAMES[max(states[first : first + 3])] for first in range(0, shown, 3)]
    assert drawn(found) == cells and len(cells) <= MOST


def test_free_blocks_at_the_end_are_left_out():
    pool = BlockPool(100_000, 16)
    for _ in range(10):
        pool.allocate()
    found = block_map(pool, ())
    assert found.runs == [(NAMES.index("used"), 10), (NAMES.index("free"), LEAST_CELLS - 10)]
    assert found.counts["free"] == 99_990 and found.num_blocks == 100_000
    assert block_map(BlockPool(1, 16), ()).runs == [(0, 1)]
