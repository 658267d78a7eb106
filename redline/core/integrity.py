"""What always holds between the queues, the sequences in them, and the blocks that they own.

For tests and for hunting a fault: every check walks everything there is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from redline.core.blocks import BlockPool
from redline.core.group_tables import GONE
from redline.core.queue import RunningQueue
from redline.core.sequence import Sequence, Status


def check_queues(
    sequences: Mapping[int, Sequence], waiting: Iterable[Sequence], running: Iterable[Sequence]
) -> None:
    """Assert that each sequence, by its id, is in one queue, and in the state that belongs to it."""
    waiting, running = list(waiting), list(running)
    members = [*waiting, *running]
    assert len(members) == len(sequences), f"{members = } {sequences = }"
    assert {seq.seq_id: seq for seq in members} == sequences, f"{members = } {sequences = }"
    for seq in waiting:
        assert seq.status is Status.WAITING and not seq.block_tables, f"{seq} waits with blocks"
        assert seq.num_computed_tokens == 0, f"{seq} waits with computed tokens"
    for seq in running:
        assert seq.status is Status.RUNNING and seq.num_uncomputed_tokens >= 1, f"{seq}"


def check_places(running: RunningQueue, max_batch: int) -> None:
    """Assert that those who run have places, and that those of a gang keep to theirs."""
    gangs = Counter(seq.gang for seq in running if seq.gang is not None)
    assert all(gang.num_running == count <= gang.num_places for gang, count in gangs.items()), f"{gangs = }"
    taken = len(running) - gangs.total() + sum(gang.num_places for gang in gangs)
    assert taken == running.num_places <= max_batch, f"{taken = } {running.num_places = }"


def check_owners(
    pool: BlockPool,
    group: int,
    running: Iterable[Sequence],
    pinned: Iterable[tuple[int, int]],
    scratch: Iterable[int],
) -> None:
    """Assert that each reference to a block of a pool has an owner.

    That is the index, a pin (group, block), a sequence, or a branch with the block for scratch.
    """
    pool.check_integrity()
    owners = Counter(block for block in range(pool.num_blocks) if pool.is_kept(block))
    owners.update(block for each, block in pinned if each == group)
    owners.update(scratch)
    for seq in running:
        owners.update(block for block in seq.block_tables[group] if block != GONE)
    for block in range(pool.num_blocks):
        refs = pool.refcount(block)
        assert refs == owners[block], f"{block = } {refs = } but {owners[block]} owners"
