"""BlockPool: who owns which block of the K/V cache.

Paged K/V memory (Kwon et al., "PagedAttention", SOSP 2023): the cache is cut into blocks of equal size and
a sequence holds a table of block ids, so its tokens need not lie side by side. It buys memory: a sequence
wastes less than one block, where a contiguous cache reserves the longest answer possible; and blocks can be
shared, each counting its owners, so forks and common prefixes are stored once. It hurts a little in the
kernel, which finds every block through a table, and more when blocks are so large that short sequences
leave them half empty.

Layers that see everything and layers that see a window of the latest tokens have a pool each: blocks behind
a window are given back while the sequence runs (group_tables.py).
"""

from __future__ import annotations

from redline.errors import CapacityError, ConfigError


class BlockPool:
    """Reference counts of `num_blocks` blocks of `block_size` tokens; knows ids, not contents.

    `window`: how many tokens the layers of this pool see, the newest included; 0: all.
    A block is free when it has no owner. Owners are sequences and, at most once per block, the prefix index,
    whose reference is taken with keep() and returned with drop(). Writing is allowed to a sole owner only:
    others copy first. Raises CapacityError without a block, ConfigError for a block without a token.
    """

    def __init__(self, num_blocks: int, block_size: int, window: int = 0) -> None:
        if num_blocks < 1:
            raise CapacityError(
                f"the K/V cache has {num_blocks} blocks; it needs at least 1: raise kv_memory"
            )
        if block_size < 1:
            raise ConfigError(f"block_size is {block_size}; it must be at least 1")
        self.num_blocks = num_blocks
        self.block_size = block_size
        self.window = window
        # The last full block stays, whatever the window: the prefix index goes on from there.
        self._reach = max(window, block_size + 1)
        self.num_reclaimable = 0  # blocks whose one owner is the prefix index
        self._refcounts = [0] * num_blocks
        self._kept = [False] * num_blocks
        # A stack: what was freed last is used first, so a cache that is never full touches less memory.
        self._free = list(range(num_blocks - 1, -1, -1))

    @property
    def num_free(self) -> int:
        """Blocks without an owner."""
        return len(self._free)

    @property
    def num_available(self) -> int:
        """Blocks that are free or can be had by evicting them from the prefix index."""
        return len(self._free) + self.num_reclaimable

    def first_read(self, position: int) -> int:
        """Index, in a table, of the first block that a token at `position` reads."""
        return max(0, position + 1 - self._reach) // self.block_size if self.window else 0

    def refcount(self, block: int) -> int:
        """How many own the block, the prefix index included."""
        return self._refcounts[block]

    def is_kept(self, block: int) -> bool:
        """True when the prefix index is among the owners."""
        return self._kept[block]

    def owners(self) -> tuple[list[int], list[bool]]:
        """Of every block how many own it, and whether the prefix index is among them.

        Copies, which may be taken from another thread.
        """
        return list(self._refcounts), list(self._kept)

    def allocate(self) -> int:
        """Take a free block; the caller is its one owner. The caller made sure that there is one."""
        assert self._free, f"no free block: {self.num_blocks = } {self.num_reclaimable = }"
        block = self._free.pop()
        self._refcounts[block] = 1
        return block

    def share(self, block: int) -> None:
        """Add an owner to a block that has one."""
        refs = self._refcounts[block]
        assert refs > 0, f"{block = } is free"
        if refs == 1 and self._kept[block]:
            self.num_reclaimable -= 1
        self._refcounts[block] = refs + 1

    def release(self, block: int) -> None:
        """Remove an owner that is not the prefix index."""
        refs = self._refcounts[block] - 1
        kept = self._kept[block]
        assert refs >= kept, f"{block = } {refs = } {kept = }: released more often than owned"
        self._refcounts[block] = refs
        if refs == 0:
            self._free.append(block)
        elif refs == 1 and kept:
            self.num_reclaimable += 1

    def keep(self, block: int) -> None:
        """Add the prefix index to the owners of a block."""
        assert self._refcounts[block] > 0, f"{block = } is free"
        assert not self._kept[block], f"{block = } is kept already"
        self._kept[block] = True
        self._refcounts[block] += 1

    def drop(self, block: int) -> None:
        """Remove the prefix index from the owners of a block."""
        assert self._kept[block], f"{block = } is not kept"
        if self._refcounts[block] == 1:
            self.num_reclaimable -= 1
        self._kept[block] = False
        self.release(block)

    def check_integrity(self) -> None:
        """Assert that the counts and the free list agree."""
        free = set(self._free)
        assert len(free) == len(self._free), f"listed free twice: {self._free}"
        for block, refs in enumerate(self._refcounts):
            assert (refs == 0) == (block in free), f"{block = } {refs = } free={block in free}"
            assert refs >= self._kept[block], f"{block = } is kept but {refs = }"
        alone = sum(kept and refs == 1 for kept, refs in zip(self._kept, self._refcounts, strict=True))
        assert alone == self.num_reclaimable, f"{alone = } {self.num_reclaimable = }"
