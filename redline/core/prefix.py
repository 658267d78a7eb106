"""PrefixIndex: which blocks of the cache hold which beginnings. radix.py has the real one, off is here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from redline.core.offload import root_key

Match = tuple[list[int], ...]  # block tables, one per layer group, all of the same length


class PrefixIndex(Protocol):
    """Which blocks hold which beginnings. Owns one reference to every block in it; see BlockPool.keep().

    A path is a beginning in whole blocks, with one block of each layer group for each of its steps. Of a
    group with a window, blocks may be missing anywhere on a path (group_tables.GONE): they are evicted alone.

    Contract with the owners of block tables: a table of a group without a window that has block i of a path
    has blocks 0 .. i-1 of the same path, so a block that only the index owns has only such blocks below it,
    and all of them can be evicted.
    """

    keeps: bool  # whether what one sequence computes can be found by another
    num_queried_tokens: int  # tokens of the sequences that were looked up and admitted
    num_hit_tokens: int  # those of them that were found
    num_hits: int  # sequences of which anything was found
    num_evicted_blocks: int

    def match(self, token_ids: list[int], salt: str = "") -> Match:
        """The longest run of leading blocks with these tokens under this salt that one can go on from.

        At most len(token_ids) - 1 tokens long: the last is always left to compute, for its logits. Tables
        have GONE where nobody who goes on reads. Changes nothing.
        """

    def match_within(
        self, matched: Match, token_ids: list[int], salt: str = ""
    ) -> tuple[tuple[int, ...], int]:
        """After a match: the blocks, one per group, whose tokens agree furthest with what follows.

        And how many tokens do. The last token is left out again. ((), 0) when none does; what agrees as a
        whole was matched.
        """

    def claim(self, matched: Match, num_queried_tokens: int) -> None:
        """Give the caller a reference to each block of a match, mark them used, and count the hit."""

    def claim_within(self, block: int, num_tokens: int) -> None:
        """Mark a block of the first group used of which so many tokens were copied, and count the hit."""

    def insert(self, token_ids: list[int], block_tables: Match, salt: str = "", start: int = 0) -> None:
        """Index the blocks of some tables from block `start` on, each filled with the next of `token_ids`.

        Blocks before `start` are indexed already; a last block that is not full is left out. Where the index
        has a block with the same tokens, the tables' own is released and replaced by it, in place.
        """

    def touch(self, blocks: Iterable[int]) -> None:
        """Mark indexed blocks of the first group used now: among the last to be evicted."""

    def evict(self, num_blocks: int, group: int = 0) -> int:
        """Free up to so many blocks of a group that nothing else owns, least recently used first.

        Returns how many.
        """

    def key_after(self, matched: Match, salt: str = "") -> bytes:
        """After a match: the key (offload.py) of its last block, or of the root."""

    def persist(self, num_steps: int) -> int:
        """Offer the blocks of up to so many steps that came in lately to memory that outlives the process.

        Returns of how many.
        """

    def start_over(self) -> None:
        """Let persist() begin again with all there is, the most recently used last."""

    def check_integrity(self) -> None:
        """Assert that tree, block map and reference counts agree."""


class NullPrefixIndex:
    """Nothing is shared and nothing is kept."""

    keeps = False

    def __init__(self, num_groups: int = 1) -> None:
        self.num_queried_tokens = self.num_hit_tokens = self.num_hits = self.num_evicted_blocks = 0
        self._num_groups = num_groups

    def match(self, token_ids: list[int], salt: str = "") -> Match:
        return tuple([] for _ in range(self._num_groups))

    def match_within(
        self, matched: Match, token_ids: list[int], salt: str = ""
    ) -> tuple[tuple[int, ...], int]:
        return (), 0

    def claim(self, matched: Match, num_queried_tokens: int) -> None:
        assert not any(matched), f"{matched} were never indexed"

    def claim_within(self, block: int, num_tokens: int) -> None:
        raise AssertionError(f"{block} was never indexed")

    def insert(self, token_ids: list[int], block_tables: Match, salt: str = "", start: int = 0) -> None:
        pass

    def touch(self, blocks: Iterable[int]) -> None:
        pass

    def evict(self, num_blocks: int, group: int = 0) -> int:
        return 0

    def key_after(self, matched: Match, salt: str = "") -> bytes:
        return root_key(salt)

    def persist(self, num_steps: int) -> int:
        return 0

    def start_over(self) -> None:
        pass

    def check_integrity(self) -> None:
        pass
