"""BlockTables: every change to the block table of a sequence."""

from __future__ import annotations

from redline.core.blocks import BlockPool
from redline.core.plan import BlockCopy
from redline.core.prefix import PrefixIndex
from redline.core.sequence import Sequence


class BlockTables:
    """Gives sequences their blocks, shares blocks between them, and hands full ones to the prefix index.

    Only the block that holds a sequence's next position can be shared and partly filled (after a fork);
    whoever writes to it first while it is shared gets a copy (copy-on-write; Kwon et al., SOSP 2023). The
    index never holds such a block, because no sequence fills a block that it shares.
    """

    def __init__(self, pool: BlockPool, prefix: PrefixIndex) -> None:
        self._pool = pool
        self._prefix = prefix
        self._block_size = pool.block_size
        self.num_releases = 0  # calls of release() so far

    def match(self, seq: Sequence) -> list[int]:
        """Blocks of the prefix index with which a sequence can start; never its last token."""
        return self._prefix.match(seq.token_ids, seq.salt)

    def admit(self, seq: Sequence, matched: list[int], num_spare: int) -> bool:
        """Start a sequence on its match if all its tokens and `num_spare` more blocks would fit now."""
        if self.num_to_admit(seq, matched, num_spare) > self._pool.num_available:
            return False
        self._prefix.claim(matched, seq.num_tokens)
        seq.block_table = matched
        seq.num_computed_tokens = len(matched) * self._block_size
        return True

    def num_to_admit(self, seq: Sequence, matched: list[int], num_spare: int) -> int:
        """The blocks that admit() wants to have at hand, those that it would revive among them."""
        num_revived = sum(self._pool.refcount(block) == 1 for block in matched)
        return self._num_blocks(seq.num_tokens) - len(matched) + num_spare + num_revived

    def copy_within(self, seq: Sequence) -> BlockCopy | None:
        """Let a sequence that was just admitted start on a copy of a block that agrees with it in part.

        Returns the copy to make before the first write. None: no block does, or the pool is too full for
        another.
        """
        source, num_tokens = self._prefix.match_within(seq.block_table, seq.token_ids, seq.salt)
        if not num_tokens:
            return None
        self._pool.share(source)  # nothing may evict it to make room for its own copy
        has_room = self.reserve(1)
        self._pool.release(source)
        if not has_room:
            return None
        target = self._pool.allocate()
        self._prefix.claim_within(source, num_tokens)
        seq.block_table.append(target)
        seq.num_computed_tokens += num_tokens
        return source, target

    def covers(self, seq: Sequence, end: int) -> bool:
        """True when positions up to `end` (exclusive) can be written with nothing allocated: most decodes."""
        table = seq.block_table
        index = seq.num_computed_tokens // self._block_size
        return (
            end <= len(table) * self._block_size
            and index < len(table)
            and self._pool.refcount(table[index]) == 1
        )

    def num_missing(self, seq: Sequence, end: int) -> int:
        """Blocks to allocate before positions up to `end` (exclusive) can be written."""
        num_missing = self._num_blocks(end) - len(seq.block_table)
        return num_missing + 1 if self._must_copy(seq) else num_missing

    def reserve(self, num_blocks: int) -> bool:
        """Make sure that so many blocks are free, by evicting if need be. False: there are too few."""
        short = num_blocks - self._pool.num_free
        if short <= 0:
            return True
        if short > self._pool.num_reclaimable:
            return False
        num_evicted = self._prefix.evict(short)
        assert num_evicted == short, f"{num_evicted = } {short = }: a reclaimable block was pinned"
        return True

    def extend(self, seq: Sequence, end: int) -> BlockCopy | None:
        """Allocate what num_missing() counted; returns the copy to make before the first write, if any."""
        copy = self._copy_on_write(seq) if self._must_copy(seq) else None
        for _ in range(self._num_blocks(end) - len(seq.block_table)):
            seq.block_table.append(self._pool.allocate())
        return copy

    def fork(self, parent: Sequence, child: Sequence, *, partial: bool) -> bool:
        """Let a child start on the blocks of its parent, as far as their tokens agree. False: not at all.

        `partial`: share a last block that is not full too; it must not be filled by a step in progress. Where
        the tokens end within a full block, the prefix index may own it, and the child computes its part anew.
        """
        shared = self._num_common_tokens(parent, child)
        last, rest = divmod(shared, self._block_size)
        if rest and (not partial or last < parent.num_computed_tokens // self._block_size):
            shared -= rest
        child.block_table = parent.block_table[: self._num_blocks(shared)]
        child.num_computed_tokens = shared
        for block in child.block_table:
            self._pool.share(block)
        return shared > 0

    def register(self, seq: Sequence, start: int) -> None:
        """Give the blocks that were filled by computing from position `start` on to the prefix index."""
        size = self._block_size
        first = start // size
        num_full = seq.num_computed_tokens // size - first
        if num_full > 0:
            token_ids = seq.tokens_at(first * size, num_full * size)
            self._prefix.insert(token_ids, seq.block_table, seq.salt, first)

    def release(self, seq: Sequence) -> None:
        """Give up all blocks; what is in the prefix index can be found again until it is evicted."""
        self._prefix.touch(seq.block_table[: seq.num_computed_tokens // self._block_size])
        for block in seq.block_table:
            self._pool.release(block)
        seq.block_table = []
        seq.num_computed_tokens = 0
        self.num_releases += 1

    def check(self, seq: Sequence) -> None:
        """Assert that the table of a running sequence covers its tokens, and that it may write on."""
        held = len(seq.block_table) * self._block_size
        assert seq.num_computed_tokens <= held, f"{seq} computed more than its blocks hold"
        assert len(set(seq.block_table)) == len(seq.block_table), f"{seq} holds a block twice"
        for block in seq.block_table[seq.num_computed_tokens // self._block_size :]:
            assert not self._pool.is_kept(block), f"{seq} is to write to indexed {block = }"

    def _num_blocks(self, num_tokens: int) -> int:
        return -(-num_tokens // self._block_size)

    def _must_copy(self, seq: Sequence) -> bool:
        """True when the next position lies in a block that others own too."""
        index = seq.num_computed_tokens // self._block_size
        return index < len(seq.block_table) and self._pool.refcount(seq.block_table[index]) > 1

    def _copy_on_write(self, seq: Sequence) -> BlockCopy:
        index = seq.num_computed_tokens // self._block_size
        source = seq.block_table[index]
        assert not self._pool.is_kept(source), f"{seq} would write to indexed block {source}"
        target = seq.block_table[index] = self._pool.allocate()
        self._pool.release(source)
        return source, target

    @staticmethod
    def _num_common_tokens(parent: Sequence, child: Sequence) -> int:
        """Leading tokens that the parent computed and the child has too, its last one left out."""
        limit = min(parent.num_computed_tokens, child.num_tokens - 1)
        ours, theirs = child.tokens_at(0, limit), parent.tokens_at(0, limit)
        if ours == theirs:
            return limit
        return next(place for place in range(limit) if ours[place] != theirs[place])
