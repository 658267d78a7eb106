"""BlockIndex: which block is in which slot of a file, and which was used when. No files, no locks."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from redline.cache.block_file import Record


@dataclass(slots=True, eq=False)
class Block:
    """While it waits to be written it has `data` and no slot, then a slot and the checksum of its record."""

    key: bytes
    last_used: int
    data: bytearray | None = None
    slot: int = -1
    checksum: int = 0

    def record(self) -> Record:
        return Record(self.key, self.last_used, self.checksum)


class BlockIndex:
    """Starts with the records of a file of `num_slots` slots, each record in a slot of its own."""

    def __init__(self, records: dict[int, Record], num_slots: int) -> None:
        self.blocks: OrderedDict[bytes, Block] = OrderedDict()  # least recently used first
        self._slots: list[Block | None] = [None] * num_slots
        self._stale: set[int] = set()  # slots whose record in the file is behind
        self._num_uses = 0
        for slot, record in sorted(records.items(), key=lambda item: item[1].last_used):
            twin = self.blocks.pop(record.key, None)  # from a process that was killed before it emptied it
            if twin is not None:
                self._slots[twin.slot] = None
                self._stale.add(twin.slot)
            block = Block(record.key, record.last_used, None, slot, record.checksum)
            self.blocks[record.key] = self._slots[slot] = block
            self._num_uses = record.last_used
        self._free = [slot for slot, block in enumerate(self._slots) if block is None]

    @property
    def num_slots(self) -> int:
        return len(self._slots)

    def add(self, key: bytes, data: bytearray) -> Block:
        self._num_uses += 1
        block = self.blocks[key] = Block(key, self._num_uses, data)
        return block

    def touch(self, block: Block) -> None:
        self._num_uses += 1
        block.last_used = self._num_uses
        self.blocks.move_to_end(block.key)
        if block.slot >= 0:
            self._stale.add(block.slot)

    def remove(self, block: Block) -> None:
        """Forget a block; its slot, if it has one, is free, and its record is due to be emptied."""
        del self.blocks[block.key]
        if block.slot >= 0:
            self._slots[block.slot] = None
            self.give_back(block.slot)

    def place(self, block: Block, slot: int, written: Record) -> None:
        """A block was written to a slot that was taken, or to one after the last."""
        if slot == len(self._slots):
            self._slots.append(None)
        self._slots[slot] = block
        block.slot, block.checksum, block.data = slot, written.checksum, None
        if block.last_used != written.last_used:
            self._stale.add(slot)

    def take_free(self) -> int | None:
        return self._free.pop() if self._free else None

    def give_back(self, slot: int) -> None:
        """A slot that is free again; what its record says is not known."""
        self._free.append(slot)
        self._stale.add(slot)

    def evict(self) -> int | None:
        """Take the slot of the least recently used block that has one."""
        block = next((block for block in self.blocks.values() if block.slot >= 0), None)
        if block is None:
            return None
        self.remove(block)
        return self.take_free()

    def take_stale(self) -> list[tuple[int, Record | None]]:
        """The slots whose records are behind, with what they should say: None where nothing is in them."""
        stale, self._stale = sorted(self._stale), set()
        blocks = [(slot, self._slots[slot]) for slot in stale]
        return [(slot, block.record() if block is not None else None) for slot, block in blocks]
