"""GroupTables: the blocks of one layer group in the tables of sequences.

The layers of a model that see equally far share one pool and one table. Those with a sliding window (Beltagy
et al., "Longformer", 2020; Jiang et al., "Mistral 7B", 2023) never read what lies behind it, so a sequence
gives those blocks back while it runs and its table says GONE there. It buys memory: a sequence holds a
window's worth of such layers, however long it grows. It hurts prefix reuse a little: a prompt can be
continued only where the last window of it is still there.
"""

from __future__ import annotations

from math import inf

from redline.core.blocks import BlockPool
from redline.core.plan import BlockCopy
from redline.core.sequence import Sequence

GONE = -1  # in a table: the block was given back, and so were all before it


class GroupTables:
    """What one group of layers holds for each sequence; `group` is its place in Sequence.block_tables.

    `step_tokens` is the most that one sequence computes in a step.
    """

    def __init__(self, group: int, pool: BlockPool, step_tokens: int) -> None:
        self.pool = pool
        self._group = group
        self._block_size = pool.block_size
        # A window, what a step adds, the two blocks at the ends that count as whole ones, and the one that
        # restore() leaves.
        self._most_held = self.num_blocks(pool.window + step_tokens) + 3 if pool.window else None

    def num_blocks(self, num_tokens: int) -> int:
        """Blocks that so many tokens fill or begin."""
        return -(-num_tokens // self._block_size)

    def max_num_tokens(self, num_seqs: int = 1, num_shared: int = 0) -> float:
        """The longest sequence that fits alone; or so many of them together that share their first blocks."""
        num_blocks = self.pool.num_blocks
        if num_seqs > 1:  # each needs a spare block to be admitted beside the others
            num_blocks = num_shared + max(0, (num_blocks - num_shared) // num_seqs - 1)
        if self._most_held is not None and num_blocks >= self._most_held:
            return inf
        return num_blocks * self._block_size

    def num_to_admit(self, seq: Sequence, matched: list[int], num_spare: int) -> int:
        """Blocks that must be at hand to start on a match, those that it would revive among them."""
        held = [block for block in matched if block != GONE]
        num_missing = self.num_blocks(seq.num_tokens) - len(matched)
        if self._most_held is not None:
            num_missing = min(num_missing, max(0, self._most_held - len(held)))
        return num_missing + num_spare + sum(self.pool.refcount(block) == 1 for block in held)

    def num_missing(self, seq: Sequence, end: int) -> int:
        """Blocks to allocate before positions up to `end` (exclusive) can be written."""
        # A table may reach further: to where drafts ended that were wrong.
        num_missing = max(0, self.num_blocks(end) - len(seq.block_tables[self._group]))
        return num_missing + 1 if self._must_copy(seq) else num_missing

    def extend(self, seq: Sequence, end: int) -> BlockCopy | None:
        """Allocate what num_missing() counted; returns the copy to make before the first write, if any."""
        table = seq.block_tables[self._group]
        copy = self._copy_on_write(seq) if self._must_copy(seq) else None
        for _ in range(self.num_blocks(end) - len(table)):
            table.append(self.pool.allocate())
        return copy

    def num_to_restore(self, first: int, end: int) -> int:
        """Blocks from the one with index `first` on that whoever goes on at position `end` reads."""
        return end // self._block_size - max(first, self.pool.first_read(end))

    def restore(self, seq: Sequence, end: int) -> list[tuple[int, int]]:
        """Allocate the blocks that num_to_restore() counted: (index in the table, block) of each."""
        table = seq.block_tables[self._group]
        first, stop = max(len(table), self.pool.first_read(end)), end // self._block_size
        if first > len(table):
            # All that it has lies behind the window. The last block stays until settle(): the prefix index
            # goes on from there.
            self._give_back(table, range(len(table) - 1))
            table.extend([GONE] * (first - len(table)))
        for _ in range(first, stop):
            table.append(self.pool.allocate())
        return list(enumerate(table))[first:]

    def append_copy(self, seq: Sequence, source: int) -> BlockCopy:
        """Let the table go on with a copy of a block."""
        target = self.pool.allocate()
        seq.block_tables[self._group].append(target)
        return BlockCopy(self._group, source, target)

    def slide(self, seq: Sequence) -> bool:
        """Give back the blocks that no token to be computed will read, and the prefix index not either.

        False: there were none.
        """
        table = seq.block_tables[self._group]
        index = last = min(self.pool.first_read(seq.num_computed_tokens), seq.num_indexed_blocks - 1) - 1
        while index >= 0 and table[index] != GONE:
            self.pool.release(table[index])
            table[index] = GONE
            index -= 1
        return index < last

    def settle(self, seq: Sequence) -> None:
        """As slide(), after restore(), which leaves a block that slide() does not see."""
        table = seq.block_tables[self._group]
        self._give_back(table, range(self.pool.first_read(seq.num_computed_tokens)))

    def can_share(self, parent: Sequence, num_tokens: int) -> bool:
        """Whether a sequence of so many computed tokens could go on from the table of `parent`."""
        table = parent.block_tables[self._group]
        return GONE not in table[self.pool.first_read(num_tokens) : self.num_blocks(num_tokens)]

    def share(self, parent: Sequence, num_tokens: int) -> list[int]:
        """A table of so many tokens with the blocks of `parent`."""
        table = parent.block_tables[self._group][: self.num_blocks(num_tokens)]
        for block in table:
            if block != GONE:
                self.pool.share(block)
        return table

    def num_to_branch(self, seq: Sequence, end: int) -> int:
        """Blocks that branch() allocates."""
        return self.num_blocks(end) - seq.num_computed_tokens // self._block_size

    def branch(self, seq: Sequence, end: int) -> tuple[list[int], BlockCopy | None]:
        """A table up to `end` with own blocks for all that is not computed, and the copy to make before."""
        table = seq.block_tables[self._group]
        first, num_before = divmod(seq.num_computed_tokens, self._block_size)
        own = [self.pool.allocate() for _ in range(self.num_to_branch(seq, end))]
        copy = BlockCopy(self._group, table[first], own[0]) if num_before else None
        return [*table[:first], *own], copy

    def adopt(self, seq: Sequence, branch: list[int]) -> None:
        """Let a sequence go on with the blocks of a branch, which gets those that they take the place of."""
        table, first, end = (
            seq.block_tables[self._group],
            seq.num_computed_tokens // self._block_size,
            len(branch),
        )
        table[first:end], branch[first:] = branch[first:], table[first:end]

    def release(self, seq: Sequence) -> None:
        """Give up the whole table."""
        for block in seq.block_tables[self._group]:
            if block != GONE:
                self.pool.release(block)

    def check(self, seq: Sequence) -> None:
        """Assert that the table of a running sequence covers what it reads, and that it may write on."""
        table = seq.block_tables[self._group]
        assert seq.num_computed_tokens <= len(table) * self._block_size, f"{seq} computed more than it holds"
        held = [block for block in table if block != GONE]
        assert len(set(held)) == len(held), f"{seq} holds a block twice"
        assert self.can_share(seq, seq.num_computed_tokens), f"{seq} lacks a block that it reads: {table}"
        for index in range(seq.num_computed_tokens // self._block_size, len(table)):
            assert not self.pool.is_kept(table[index]), f"{seq} is to write to indexed block {table[index]}"
            own = self.pool.refcount(table[index]) == 1
            assert own or index * self._block_size >= seq.num_writable_tokens, f"{seq} shares {table[index]}"

    def _give_back(self, table: list[int], indices: range) -> None:
        for index in indices:
            if table[index] != GONE:
                self.pool.release(table[index])
                table[index] = GONE

    def _must_copy(self, seq: Sequence) -> bool:
        """True when the next position lies in a block that others own too."""
        table = seq.block_tables[self._group]
        index = seq.num_computed_tokens // self._block_size
        return index < len(table) and self.pool.refcount(table[index]) > 1

    def _copy_on_write(self, seq: Sequence) -> BlockCopy:
        table = seq.block_tables[self._group]
        index = seq.num_computed_tokens // self._block_size
        source = table[index]
        assert not self.pool.is_kept(source), f"{seq} would write to indexed block {source}"
        target = table[index] = self.pool.allocate()
        self.pool.release(source)
        return BlockCopy(self._group, source, target)
