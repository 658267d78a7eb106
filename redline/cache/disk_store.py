"""DiskStore: blocks of keys and values in a file, so that a restarted server knows the prompts of the last.

It buys the prefill of every prompt that begins like one of an earlier run, or like one that memory had no
room for. It costs disk space up to its capacity, and a copy of each block that is saved. It hurts where
reading a block takes longer than computing it: a small model on a slow disk.

save() copies the bytes into a queue and a thread writes them. Where the disk cannot keep up the queue is
full, and blocks are dropped, because nobody may wait for them. A block in the queue is found and loaded like
any other. That thread alone writes to the file, so the writes have one order; cache/block_file.py says which,
and what a power cut can do. The caller reads meanwhile: a block whose slot is overwritten during the read has
left the index by then, and the read does not count.

When a block was last used stands in its record, which is brought up to date when the queue runs empty, so the
order of eviction outlives the process. Nothing that is wrong with the file raises: it is said once, and the
blocks that it concerns are computed again.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from redline.cache.block_file import GROUP_SLOTS, KEY_BYTES, PAGE, BlockFile, Layout
from redline.cache.block_index import Block, BlockIndex
from redline.cache.block_store import buffers_of, copy_into
from redline.cache.cache_folder import CacheFolder
from redline.errors import ConfigError
from redline.ops.arrays import Array

QUEUE_BYTES = 128 * 2**20  # of blocks that wait to be written
LEAST_QUEUED = 4  # blocks, however large they are


class DiskStore:
    """A BlockStore in `folder`, where the files of all models together stay within `capacity_bytes`.

    `fingerprint` names all that the blocks depend on besides their tokens: model, K/V format, block size.
    `warn` gets one sentence for each kind of trouble, also from the writing thread. While another process has
    the file, or where it cannot be used, this store is empty and keeps nothing.
    Raises ConfigError when the folder cannot be used, or the capacity is less than one block needs.
    """

    def __init__(
        self,
        folder: Path,
        fingerprint: bytes,
        block_bytes: int,
        capacity_bytes: int,
        warn: Callable[[str], None],
    ) -> None:
        self.capacity_bytes = capacity_bytes
        self.num_saved = self.num_loaded = self.num_evicted = self.num_damaged = self.num_dropped = 0
        self._block_bytes = block_bytes
        self._layout = Layout(block_bytes)
        # Fewer once the disk or the folder is full.
        self._most_slots = _most_slots(self._layout, capacity_bytes)
        self._most_queued = max(LEAST_QUEUED, QUEUE_BYTES // block_bytes)
        self._warn, self._warned = warn, set[str]()
        self._folder = CacheFolder(folder, capacity_bytes)
        self._path = self._folder.path_of(fingerprint)
        self._index = BlockIndex({}, 0)
        self._queue: deque[Block] = deque()  # the first one is being written
        self._spare: list[bytearray] = []  # memory of blocks that were in the queue
        self._changed = threading.Condition()  # guards the index, the queue and the flags
        self._asked = self._closing = False
        self._file = self._open(fingerprint)
        self._room = self._index.num_slots  # slots that the folder is known to have room for
        self._running = self._file is not None
        self._writer = threading.Thread(target=self._run, name="redline-disk-store", daemon=True)
        if self._running:
            self._writer.start()

    @property
    def num_blocks(self) -> int:
        return len(self._index.blocks)

    @property
    def num_bytes(self) -> int:
        return len(self._index.blocks) * self._block_bytes

    def __contains__(self, key: bytes) -> bool:
        return key in self._index.blocks

    def save(self, key: bytes, parts: Sequence[Array]) -> None:
        with self._changed:
            block = self._index.blocks.get(key)
            if block is not None:
                self._index.touch(block)
            elif not self._running or len(self._queue) >= self._most_queued:
                self.num_dropped += 1
            else:
                assert len(key) == KEY_BYTES, f"{len(key) = }"
                self._queue.append(self._index.add(key, self._copy(parts)))
                self._changed.notify_all()

    def load(self, key: bytes, parts: Sequence[Array]) -> bool:
        with self._changed:
            block = self._index.blocks.get(key)
            if block is None:
                return False
            self._index.touch(block)  # so it is the last to be evicted while it is read
            waits = block.data is not None
            if block.data is not None:
                copy_into(parts, memoryview(block.data))
        if not waits and not self._read(block, parts):
            return False
        self.num_loaded += 1
        return True

    def _copy(self, parts: Sequence[Array]) -> bytearray:
        """Into memory that is used again: pages fresh from the system take longer than the copy."""
        data = b"".join(buffers_of(parts))
        assert len(data) == self._block_bytes, f"{len(data) = } {self._block_bytes = }"
        if not self._spare:
            return bytearray(data)
        copy = self._spare.pop()
        copy[:] = data
        return copy

    def _read(self, block: Block, parts: Sequence[Array]) -> bool:
        assert self._file is not None, f"{block.slot = } without a file"
        try:
            intact = self._file.read(block.slot, block.record(), parts)
        except OSError:
            intact = False
        with self._changed:
            if self._index.blocks.get(block.key) is not block:
                return False  # evicted during the read
            if not intact:
                self._index.remove(block)
                self.num_damaged += 1
        if not intact:
            self._warn_once(
                "damaged", "a block is damaged; it is computed again, like others if there are any"
            )
        return intact

    def flush(self) -> None:
        with self._changed:
            self._asked = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._running or not self._asked)

    def close(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._file is not None:
            self._writer.join()
            self._file.close()
            self._file = None
        self._index = BlockIndex({}, 0)

    # Opening.

    def _open(self, fingerprint: bytes) -> BlockFile | None:
        with contextlib.ExitStack() as undo:
            try:
                file = BlockFile(self._path, fingerprint, self._block_bytes)
                undo.callback(file.close)
                self._index = self._adopt(file)
            except OSError as error:
                self._warn(f"{self._path}: {_reason(error)}; this process keeps no blocks on disk")
                return None
            undo.pop_all()
        return file

    def _adopt(self, file: BlockFile) -> BlockIndex:
        """What the file holds, as far as the capacity reaches."""
        records, self.num_damaged = file.take_records()
        if file.was_reset:
            self._warn_once("reset", "it was damaged or of another version; it starts anew, empty")
        elif self.num_damaged:
            lost = f"{self.num_damaged} of its blocks are damaged or cut off"
            self._warn_once("records", f"{lost}; they are computed again")
        room = self._folder.room_for(self._path, self._layout.num_bytes(file.num_slots))
        num_slots = min(file.num_slots, self._layout.num_slots(room))
        kept = {slot: record for slot, record in records.items() if slot < num_slots}
        self.num_evicted = len(records) - len(kept)
        file.truncate(num_slots)
        return BlockIndex(kept, num_slots)

    # The writing thread.

    def _run(self) -> None:
        try:
            while self._step():
                pass
        finally:
            with self._changed:
                self._running = False
                self._changed.notify_all()

    def _step(self) -> bool:
        """Write one block, or bring the records up to date when none waits; False when that was the last."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._asked or self._closing)
            block = self._queue[0] if self._queue else None
            self._asked = self._asked and block is not None
            is_last = block is None and self._closing
        if block is None:
            self._update_records()
        else:
            assert block.data is not None, f"{block.slot = }"
            data = block.data
            self._write(block, data)
            self._take_off_queue(data)
        with self._changed:
            self._changed.notify_all()
        return not is_last

    def _take_off_queue(self, data: bytearray) -> None:
        with self._changed:
            self._queue.popleft()
            self._spare.append(data)
            self._asked = self._asked or not self._queue

    def _write(self, block: Block, data: bytearray) -> None:
        assert self._file is not None
        slot = self._take_slot()
        if slot is None:
            self._drop(block)
            return
        try:
            record = self._file.write(slot, block.key, block.last_used, data)
        except OSError as error:
            if slot == self._index.num_slots:
                self._stop_growing(_reason(error))
                self._write(block, data)
            else:
                self._warn_once("write", f"{_reason(error)}; blocks that cannot be written are dropped")
                self._drop(block, slot)
            return
        with self._changed:
            self._index.place(block, slot, record)
            self.num_saved += 1

    def _drop(self, block: Block, slot: int | None = None) -> None:
        with self._changed:
            self._index.remove(block)
            if slot is not None:
                self._index.give_back(slot)
            self.num_dropped += 1

    def _take_slot(self) -> int | None:
        """A free slot, else a new one at the end of the file, else that of the least recently used block."""
        with self._changed:
            slot = self._index.take_free()
        if slot is not None:
            return slot
        if self._may_grow():
            return self._index.num_slots
        with self._changed:
            slot = self._index.evict()
            self.num_evicted += slot is not None
        return slot

    def _may_grow(self) -> bool:
        """Asks the folder for room when the last answer is used up, at least once for each group of slots."""
        num_slots = self._index.num_slots
        if num_slots == self._room < self._most_slots:
            try:
                room = self._folder.room_for(self._path, self._layout.num_bytes(num_slots + 1))
                self._room = min(self._layout.num_slots(room), num_slots + GROUP_SLOTS, self._most_slots)
            except OSError as error:
                self._stop_growing(_reason(error))
                return False
            if self._room <= num_slots:
                self._stop_growing("files of other models that are in use fill the folder")
        return num_slots < self._room

    def _stop_growing(self, reason: str) -> None:
        assert self._file is not None
        self._most_slots = self._room = self._index.num_slots
        with contextlib.suppress(OSError):  # give back what was written of the next slot
            self._file.truncate(self._most_slots)
        self._warn_once("full", f"{reason}; it stays at {self._most_slots} blocks")

    def _update_records(self) -> None:
        assert self._file is not None
        with self._changed:
            stale = self._index.take_stale()
        try:
            for slot, record in stale:
                self._file.write_record(slot, record)
        except OSError as error:
            self._warn_once("order", f"{_reason(error)}; the order of use is not kept")

    def _warn_once(self, kind: str, message: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            self._warn(f"{self._path}: {message}")


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _most_slots(layout: Layout, capacity_bytes: int) -> int:
    num_slots = layout.num_slots(capacity_bytes)
    if num_slots < 1:
        raise ConfigError(
            f"cache_dir_size is {capacity_bytes} bytes, but a file with one block takes "
            f"{layout.num_bytes(1)} (two pages of {PAGE} and a block of {layout.block_bytes}); give it more, "
            "or switch cache_dir off"
        )
    return num_slots
