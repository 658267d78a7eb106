"""BlockTables: every change to the block tables of a sequence."""

from __future__ import annotations

from collections.abc import Sequence as Many

from redline.core.blocks import BlockPool
from redline.core.gang import Gang
from redline.core.group_tables import GroupTables
from redline.core.offload import Offload
from redline.core.plan import BlockCopy, BlockLoad
from redline.core.prefix import Match, PrefixIndex
from redline.core.restore import loadable
from redline.core.sequence import Sequence
from redline.errors import CapacityError, RequestError


class BlockTables:
    """Gives sequences their blocks, shares blocks between them, and hands full ones to the prefix index.

    Only the block that holds a sequence's next position can be shared and partly filled (after a fork);
    whoever writes to it first while it is shared gets a copy (copy-on-write; Kwon et al., SOSP 2023). The
    index never holds such a block, because no sequence fills a block that it shares.
    """

    def __init__(
        self, pools: Many[BlockPool], prefix: PrefixIndex, step_tokens: int, offload: Offload
    ) -> None:
        self._groups = [GroupTables(group, pool, step_tokens) for group, pool in enumerate(pools)]
        self._windowed = [group for group in self._groups if group.pool.window]
        self._pools = pools
        self._prefix = prefix
        self._offload = offload
        self._block_size = pools[0].block_size
        self.num_releases = 0  # times that a sequence gave blocks back

    def max_num_tokens_of(self, seq: Sequence, max_context: int) -> int:
        """The most tokens that a sequence may come to.

        Raises CapacityError when prompt and max_tokens (with None: one token) exceed that alone, RequestError
        when they do together with the gang.
        """
        held = min(group.max_num_tokens() for group in self._groups)
        most = int(min(max_context, held))
        num_prompt, max_tokens = len(seq.prompt_token_ids), seq.params.max_tokens
        wanted = num_prompt + (1 if max_tokens is None else max_tokens)
        if wanted > most:
            num_blocks = self._groups[0].pool.num_blocks
            raise CapacityError(
                f"the prompt has {num_prompt} tokens and max_tokens is {max_tokens}, together {wanted}; "
                f"max_context is {max_context} and the K/V cache holds {held:.0f} tokens of one "
                f"sequence ({num_blocks} blocks of {self._block_size}). "
                "Shorten the prompt, lower max_tokens, or raise kv_memory"
            )
        if seq.gang is not None:
            most = self._most_of_gang(seq, seq.gang, wanted, most)
        return most if max_tokens is None else wanted

    def _most_of_gang(self, seq: Sequence, gang: Gang, wanted: int, most: int) -> int:
        # Whoever gives way finds the prompt again only in an index, and there only with all of a window.
        keeps = self._prefix.keeps and not self._windowed
        num_shared = len(seq.prompt_token_ids) // self._block_size if keeps else 0
        most = int(min(most, *(group.max_num_tokens(gang.num_places, num_shared) for group in self._groups)))
        if wanted > most:
            raise RequestError(
                f"best_of is {gang.num_places} and prompt and max_tokens are {wanted} tokens together; that "
                f"many beams fit the K/V cache with {most} tokens each. Lower best_of or max_tokens, or "
                "raise kv_memory",
                param="best_of",
            )
        return most

    def match(self, seq: Sequence) -> Match:
        """Tables of the prefix index with which a sequence can start; no token whose logits it wants."""
        return self._prefix.match(seq.lookup_token_ids, seq.salt)

    def admit(self, seq: Sequence, matched: Match, num_spare: int) -> bool:
        """Start a sequence on its match if all its tokens and `num_spare` more blocks would fit now."""
        missing, available = self.shortage(seq, matched, num_spare)
        if missing > available:
            return False
        self._prefix.claim(matched, seq.num_tokens)
        seq.block_tables = matched
        seq.num_indexed_blocks = len(matched[0])
        seq.num_computed_tokens = len(matched[0]) * self._block_size
        return True

    def shortage(self, seq: Sequence, matched: Match, num_spare: int) -> tuple[int, int]:
        """The blocks that admit() wants, and those that can be had, of the group that is shortest of them."""
        wanted = [
            (group.num_to_admit(seq, table, num_spare), group.pool.num_available)
            for group, table in zip(self._groups, matched, strict=True)
        ]
        return max(wanted, key=lambda pair: pair[0] - pair[1])

    def restore(self, seq: Sequence) -> list[BlockLoad]:
        """Let a sequence that was just admitted go on with blocks that slower memory holds, if that pays.

        Returns the loads to make before its first token is computed.
        """
        if not self._offload.pays():
            return []
        key = self._prefix.key_after(seq.block_tables, seq.salt)
        keys = loadable(seq.block_tables, seq.lookup_token_ids, key, self._pools, self._offload)
        first = len(seq.block_tables[0])
        end = (first + len(keys)) * self._block_size
        num_blocks = [group.num_to_restore(first, end) for group in self._groups]
        if not keys or not self._reserve(num_blocks):
            return []
        loads = [
            BlockLoad(seq.seq_id, each, keys[index - first], block)
            for each, group in enumerate(self._groups)
            for index, block in group.restore(seq, end)
        ]
        seq.num_computed_tokens = end
        self._offload.num_loaded_tokens += len(keys) * self._block_size
        return loads

    def copy_within(self, seq: Sequence) -> list[BlockCopy]:
        """Let a sequence that was just admitted start on a copy of a block that agrees with it in part.

        Returns the copies to make before the first write. Empty: no block does, or the pool is too full for
        another.
        """
        sources, num_tokens = self._prefix.match_within(seq.block_tables, seq.lookup_token_ids, seq.salt)
        if not num_tokens:
            return []
        both = list(zip(self._groups, sources, strict=True))
        for group, source in both:
            group.pool.share(source)  # nothing may evict it to make room for its own copy
        has_room = self._reserve([1] * len(both))
        for group, source in both:
            group.pool.release(source)
        if not has_room:
            return []
        self._prefix.claim_within(sources[0], num_tokens)
        seq.num_computed_tokens += num_tokens
        return [group.append_copy(seq, source) for group, source in both]

    def slide(self, seq: Sequence) -> None:
        """Give back the blocks behind the windows of a sequence."""
        for group in self._windowed:
            self.num_releases += group.slide(seq)

    def reserve(self, seq: Sequence, end: int) -> bool:
        """Make sure that extend() finds the blocks it needs, by evicting if need be. False: too few."""
        if all([group.num_missing(seq, end) <= group.pool.num_free for group in self._groups]):
            return True
        return self._reserve([group.num_missing(seq, end) for group in self._groups])

    def extend(self, seq: Sequence, end: int) -> list[BlockCopy]:
        """Allocate up to position `end` (exclusive); returns the copies to make before the first write."""
        copies = [group.extend(seq, end) for group in self._groups]
        seq.num_writable_tokens = len(seq.block_tables[0]) * self._block_size
        return [copy for copy in copies if copy is not None]

    def fork(self, parent: Sequence, child: Sequence, *, partial: bool) -> bool:
        """Let a child start on the blocks of its parent, as far as their tokens agree. False: not at all.

        `partial`: share a last block that is not full too; it must not be filled by a step in progress. Where
        the tokens end within a full block, the prefix index may own it, and the child computes its part anew.
        """
        shared = self._num_common_tokens(parent, child)
        last, rest = divmod(shared, self._block_size)
        if rest and (not partial or last < parent.num_computed_tokens // self._block_size):
            shared -= rest
        if not shared or not all(group.can_share(parent, shared) for group in self._windowed):
            return False
        parent.num_writable_tokens = 0  # its last block may be shared now
        child.block_tables = tuple(group.share(parent, shared) for group in self._groups)
        child.num_computed_tokens = shared
        child.num_indexed_blocks = shared // self._block_size
        return True

    def branch(self, seq: Sequence, end: int) -> tuple[tuple[list[int], ...], list[BlockCopy]] | None:
        """Tables up to `end` that share what is computed of a sequence, and the copies to make before.

        None: too few blocks, even with those that could be evicted.
        """
        if not self._reserve([group.num_to_branch(seq, end) for group in self._groups]):
            return None
        made = [group.branch(seq, end) for group in self._groups]
        return tuple(table for table, _ in made), [copy for _, copy in made if copy is not None]

    def adopt(self, seq: Sequence, tables: tuple[list[int], ...]) -> None:
        """Exchange what is not counted as computed yet of a sequence with the blocks of its branch."""
        for group, table in zip(self._groups, tables, strict=True):
            group.adopt(seq, table)

    def release_branch(self, tables: tuple[list[int], ...], first: int) -> None:
        """Give up the own blocks of a branch, those from index `first` on."""
        for group, table in zip(self._groups, tables, strict=True):
            for block in table[first:]:
                group.pool.release(block)

    def register(self, seq: Sequence) -> None:
        """Give the blocks that were filled, by computing or loading, to the prefix index."""
        size, first = self._block_size, seq.num_indexed_blocks
        num_full = seq.num_computed_tokens // size - first
        if num_full > 0:
            token_ids = seq.tokens_at(first * size, num_full * size)
            self._prefix.insert(token_ids, seq.block_tables, seq.salt, first)
            seq.num_indexed_blocks += num_full

    def settle(self, seq: Sequence) -> None:
        """Give back what a restored sequence held only until it was registered."""
        for group in self._windowed:
            group.settle(seq)

    def release(self, seq: Sequence) -> None:
        """Give up all blocks; what is in the prefix index can be found again until it is evicted."""
        if seq.block_tables:
            self._prefix.touch(seq.block_tables[0][: seq.num_indexed_blocks])
            for group in self._groups:
                group.release(seq)
        seq.block_tables = ()
        seq.num_indexed_blocks = seq.num_writable_tokens = 0
        seq.num_computed_tokens = 0
        self.num_releases += 1

    def empty(self, seq: Sequence) -> None:
        """Give up all blocks of a sequence that goes on, and computes all of its tokens again."""
        self.release(seq)
        seq.block_tables = tuple([] for _ in self._groups)

    def check(self, seq: Sequence) -> None:
        """Assert that the tables of a running sequence cover its tokens, and that it may write on."""
        for group in self._groups:
            group.check(seq)

    def _reserve(self, num_blocks: list[int]) -> bool:
        """Make so many blocks of each group free. False: that cannot be done, and nothing was evicted."""
        pools = [group.pool for group in self._groups]
        short = [wanted - pool.num_free for wanted, pool in zip(num_blocks, pools, strict=True)]
        if any(few > pool.num_reclaimable for few, pool in zip(short, pools, strict=True)):
            return False
        for group, few in enumerate(short):
            # Evicting for one group may have freed blocks of another.
            few = min(few, num_blocks[group] - pools[group].num_free)
            if few > 0:
                num_evicted = self._prefix.evict(few, group)
                assert num_evicted == few, f"{num_evicted = } {few = }: a reclaimable block was pinned"
        return True

    @staticmethod
    def _num_common_tokens(parent: Sequence, child: Sequence) -> int:
        """Leading tokens that the parent computed and the child has too, its last one left out."""
        limit = min(parent.num_computed_tokens, child.num_tokens - 1)
        ours, theirs = child.tokens_at(0, limit), parent.tokens_at(0, limit)
        if ours == theirs:
            return limit
        return next(place for place in range(limit) if ours[place] != theirs[place])
