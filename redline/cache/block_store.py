"""BlockStore: keys and values of blocks that left the paged cache, kept for prompts that begin alike.

A block of the paged cache is computed once and read often. When its memory is needed it can move to a slower
and larger place instead of being forgotten (Gao et al., "CachedAttention", USENIX ATC 2024). To a store a
block is so many bytes under a key that stands for its tokens and all tokens before them, so what comes back
is what would be computed again. HostStore keeps blocks in memory, DiskStore (cache/disk_store.py) in a file.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from redline.errors import CapacityError, ConfigError
from redline.ops.arrays import Array


class BlockStore(Protocol):
    """Blocks of equal size by key, a hash of 16 bytes; the least recently used goes when the room is needed.

    `parts` are the pieces of one block in a fixed order: C-contiguous arrays of a dtype with a buffer (view
    others as uint8), of block_bytes together. One thread calls a store; any may read the counters.
    """

    capacity_bytes: int  # most that the store may take
    num_saved: int  # blocks that were put in the store; one that was there already is not counted again
    num_loaded: int
    num_evicted: int  # blocks that made room for others
    num_damaged: int  # blocks whose bytes were not those that were saved; they are never handed out
    num_dropped: int  # blocks that were handed over and could not be kept

    @property
    def num_blocks(self) -> int:
        """Blocks that can be loaded now."""

    @property
    def num_bytes(self) -> int:
        """What those blocks take."""

    def __contains__(self, key: bytes) -> bool:
        """Whether the block is there. Changes nothing and costs one dictionary access."""

    def save(self, key: bytes, parts: Sequence[Array]) -> None:
        """Copy a block and return soon. A block that is there already is only marked used."""

    def load(self, key: bytes, parts: Sequence[Array]) -> bool:
        """Copy a block into `parts`, in place, and mark it used.

        False: the block is not there, or was damaged and is forgotten now. What is in `parts` is undefined
        then.
        """

    def flush(self) -> None:
        """Return when all that was saved so far is in the store or dropped."""

    def close(self) -> None:
        """Flush, then let go of files and threads. Afterwards the store is empty and keeps nothing."""


class HostStore:
    """Blocks in one piece of memory that the system gives page by page, as slots are first written.

    Raises ConfigError when not one block fits, CapacityError when the memory is refused.
    """

    def __init__(self, capacity_bytes: int, block_bytes: int) -> None:
        num_slots = capacity_bytes // block_bytes
        if num_slots < 1:
            raise ConfigError(
                f"offload_memory is {capacity_bytes} bytes, but one block takes "
                f"{block_bytes}; give it at least that, or switch it off"
            )
        self.capacity_bytes = capacity_bytes
        self.num_saved = self.num_loaded = self.num_evicted = self.num_damaged = self.num_dropped = 0
        self._block_bytes = block_bytes
        self._num_slots = num_slots
        self._memory = _reserve(num_slots * block_bytes)
        self._slots: OrderedDict[bytes, int] = OrderedDict()  # by key, least recently used first

    @property
    def num_blocks(self) -> int:
        return len(self._slots)

    @property
    def num_bytes(self) -> int:
        return len(self._slots) * self._block_bytes

    def __contains__(self, key: bytes) -> bool:
        return key in self._slots

    def save(self, key: bytes, parts: Sequence[Array]) -> None:
        if key in self._slots:
            self._slots.move_to_end(key)
        elif self._num_slots:
            # One join and one copy cost less than a slice for each of many small parts.
            data = b"".join(buffers_of(parts))
            assert len(data) == self._block_bytes, f"{len(data) = } {self._block_bytes = }"
            slot = self._take_slot()
            self._memory[self._span(slot)] = data
            self._slots[key] = slot
            self.num_saved += 1

    def load(self, key: bytes, parts: Sequence[Array]) -> bool:
        slot = self._slots.get(key)
        if slot is None:
            return False
        self._slots.move_to_end(key)
        copy_into(parts, self._memory[self._span(slot)])
        self.num_loaded += 1
        return True

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self._slots.clear()
        self._num_slots = 0
        self._memory = memoryview(b"")

    def _span(self, slot: int) -> slice:
        return slice(slot * self._block_bytes, (slot + 1) * self._block_bytes)

    def _take_slot(self) -> int:
        """A slot that was never used, else that of the least recently used block."""
        if len(self._slots) < self._num_slots:
            return len(self._slots)
        _, slot = self._slots.popitem(last=False)
        self.num_evicted += 1
        return slot


def buffers_of(parts: Sequence[Array]) -> list[memoryview]:
    """What the calls of the system read and write. NumPy takes its time to make one, so make each once."""
    return [part.data for part in parts]


def copy_into(parts: Sequence[Array], data: memoryview) -> None:
    """Copy the bytes of a block into its parts, in place."""
    start = 0
    for part in parts:
        end = start + part.nbytes
        part.data.cast("B")[:] = data[start:end]
        start = end
    assert start == len(data), f"the parts take {start} bytes, the block has {len(data)}"


def _reserve(num_bytes: int) -> memoryview:
    try:
        return np.empty(num_bytes, np.uint8).data
    except (MemoryError, ValueError) as error:
        raise CapacityError(f"offload_memory does not get its {num_bytes} bytes; lower it") from error
