"""How far a sequence can go on with blocks that slower memory holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from redline.core.blocks import BlockPool
from redline.core.group_tables import GONE
from redline.core.offload import Offload, next_key
from redline.core.prefix import Match


def loadable(
    matched: Match, token_ids: list[int], key: bytes, pools: Sequence[BlockPool], offload: Offload
) -> list[bytes]:
    """After a match, which ended with `key`: the keys of the blocks to go on with.

    Each block of the group that sees everything must be held, of the others those that the token after them
    reads. The last token is always left to compute.
    """
    first, size = len(matched[0]), pools[0].block_size
    present = [_held_at_end(table) for table in matched]  # blocks in a row up to here, by group
    keys: list[bytes] = []
    usable = 0
    for following in _keys(key, token_ids[first * size : len(token_ids) - 1], size):
        length = first + len(keys) + 1
        complete = True
        for group, pool in enumerate(pools):
            present[group] = present[group] + 1 if offload.holds(group, following) else 0
            complete &= present[group] >= length - pool.first_read(length * size)
        if not pools[0].window and not present[0]:
            break
        keys.append(following)
        if complete:
            usable = len(keys)
    return keys[:usable]


def _held_at_end(table: list[int]) -> int:
    return next((count for count, block in enumerate(reversed(table)) if block == GONE), len(table))


def _keys(key: bytes, token_ids: list[int], block_size: int) -> Iterator[bytes]:
    for start in range(0, len(token_ids) - block_size + 1, block_size):
        key = next_key(key, token_ids[start : start + block_size])
        yield key
