"""RadixPrefixIndex: find the blocks of a prompt's beginning that are in the cache already.

Prefix reuse (Zheng et al., "SGLang: RadixAttention", 2024): blocks of tokens computed once stay in the cache
after their sequence has ended, in a tree keyed by their tokens, and a later prompt that starts alike takes
them over instead of computing them. It buys time to first token and memory wherever prompts share a
beginning: system prompts, few-shot examples, the turns of a chat, samples of one prompt, a preempted sequence
coming back. Whole blocks are shared; of a block that agrees in its first tokens only, a copy is taken, so
nothing that agrees is computed twice. It hurts next to nothing when nothing is shared: one lookup per
request, and memory that would lie idle. Exact, because the keys and values of a token depend on the tokens
before it and on nothing else. `prefix_cache=False` puts NullPrefixIndex in its place.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappop, heappush
from itertools import islice
from typing import Protocol

from redline.core.blocks import BlockPool

MAX_COMPARED = 64  # blocks that follow one block, in the search for one that agrees in part


class PrefixIndex(Protocol):
    """Which blocks hold which beginnings. Owns one reference to every block in it; see BlockPool.keep().

    Contract with the owners of block tables: a table that has block i of a path has blocks 0 .. i-1 of the
    same path, so a block that only the index owns has only such blocks below it, and all of them can be
    evicted.
    """

    num_queried_tokens: int  # tokens of the sequences that were looked up and admitted
    num_hit_tokens: int  # those of them that were found
    num_evicted_blocks: int

    def match(self, token_ids: list[int], salt: str = "") -> list[int]:
        """The longest run of leading blocks with these tokens under this salt, at most len(token_ids) - 1
        tokens long: the last token is always left to compute, for its logits. Changes nothing.
        """

    def match_within(self, blocks: list[int], token_ids: list[int], salt: str = "") -> tuple[int, int]:
        """After a match: the block whose tokens agree furthest with what follows, and how many do.

        The last token is left out again. (-1, 0) when none does; a block that agrees as a whole was matched.
        """

    def claim(self, blocks: list[int], num_queried_tokens: int) -> None:
        """Give the caller a reference to each block of a match, mark them used, and count the hit."""

    def claim_within(self, block: int, num_tokens: int) -> None:
        """Mark a block used of which so many tokens were copied, and count the hit."""

    def insert(self, token_ids: list[int], block_table: list[int], salt: str = "", start: int = 0) -> None:
        """Index the blocks of a table from block `start` on, each filled with the next of `token_ids`.

        Blocks before `start` are indexed already; a last block that is not full is left out. Where the index
        has a block with the same tokens, the table's own is released and replaced by it, in place.
        """

    def touch(self, blocks: Iterable[int]) -> None:
        """Mark indexed blocks used now: among the last to be evicted."""

    def evict(self, num_blocks: int) -> int:
        """Free up to so many blocks that nothing else owns, least recently used first; returns how many."""

    def check_integrity(self) -> None:
        """Assert that tree, block map and reference counts agree."""


class NullPrefixIndex:
    """Nothing is shared and nothing is kept."""

    def __init__(self) -> None:
        self.num_queried_tokens = self.num_hit_tokens = self.num_evicted_blocks = 0

    def match(self, token_ids: list[int], salt: str = "") -> list[int]:
        return []

    def match_within(self, blocks: list[int], token_ids: list[int], salt: str = "") -> tuple[int, int]:
        return -1, 0

    def claim(self, blocks: list[int], num_queried_tokens: int) -> None:
        assert not blocks, f"{blocks} were never indexed"

    def claim_within(self, block: int, num_tokens: int) -> None:
        raise AssertionError(f"{block} was never indexed")

    def insert(self, token_ids: list[int], block_table: list[int], salt: str = "", start: int = 0) -> None:
        pass

    def touch(self, blocks: Iterable[int]) -> None:
        pass

    def evict(self, num_blocks: int) -> int:
        return 0

    def check_integrity(self) -> None:
        pass


class _Node:
    """One block in the tree; its key among its parent's children is the tuple of its tokens."""

    __slots__ = ("block", "children", "key", "last_used", "parent", "queued")

    def __init__(self, parent: _Node | None, key: tuple[int, ...], block: int) -> None:
        self.parent = parent
        self.key = key
        self.block = block
        self.children: dict[tuple[int, ...], _Node] = {}
        self.last_used = 0
        self.queued = False  # stands in the eviction heap


class _Root(_Node):
    """Start of all paths of one salt; holds no block."""

    __slots__ = ("salt",)

    def __init__(self, salt: str) -> None:
        super().__init__(None, (), -1)
        self.salt = salt


class RadixPrefixIndex:
    """A tree of whole blocks per salt; leaves that no sequence uses go first, least recently used first.

    Time is counted in uses, not seconds, so equal calls give equal evictions. Lookup and insertion cost one
    dictionary access per block.
    """

    def __init__(self, pool: BlockPool) -> None:
        self.num_queried_tokens = self.num_hit_tokens = self.num_evicted_blocks = 0
        self._pool = pool
        self._block_size = pool.block_size
        self._roots: dict[str, _Root] = {}
        self._nodes: dict[int, _Node] = {}  # by block
        self._leaves: list[tuple[int, int, _Node]] = []  # heap of (last_used when queued, block, node)
        self._now = 0

    def match(self, token_ids: list[int], salt: str = "") -> list[int]:
        blocks: list[int] = []
        node: _Node | None = self._roots.get(salt)
        size = self._block_size
        for start in range(0, len(token_ids) - size, size):
            if node is None:
                break
            node = node.children.get(tuple(token_ids[start : start + size]))
            if node is not None:
                blocks.append(node.block)
        return blocks

    def match_within(self, blocks: list[int], token_ids: list[int], salt: str = "") -> tuple[int, int]:
        node = self._nodes[blocks[-1]] if blocks else self._roots.get(salt)
        start = len(blocks) * self._block_size
        following = token_ids[start : min(start + self._block_size, len(token_ids) - 1)]
        best, most = -1, 0
        children = reversed(node.children.values()) if node is not None else ()
        for child in islice(children, MAX_COMPARED):  # the newest first
            num_tokens = _num_common(child.key, following)
            if num_tokens > most:
                best, most = child.block, num_tokens
        return best, most

    def claim_within(self, block: int, num_tokens: int) -> None:
        self.touch((block,))
        self.num_hit_tokens += num_tokens

    def claim(self, blocks: list[int], num_queried_tokens: int) -> None:
        for block in blocks:
            self._pool.share(block)
        self.touch(blocks)
        self.num_queried_tokens += num_queried_tokens
        self.num_hit_tokens += len(blocks) * self._block_size

    def insert(self, token_ids: list[int], block_table: list[int], salt: str = "", start: int = 0) -> None:
        size = self._block_size
        stop = min(start + len(token_ids) // size, len(block_table))
        if stop == start:
            return
        self._now += 1
        node = self._nodes[block_table[start - 1]] if start else self._root(salt)
        for index in range(start, stop):
            offset = (index - start) * size
            key = tuple(token_ids[offset : offset + size])
            node = self._child(node, key, block_table, index)
        if not node.children and not node.queued:
            self._queue(node)

    def touch(self, blocks: Iterable[int]) -> None:
        self._now += 1
        for block in blocks:
            self._nodes[block].last_used = self._now

    def evict(self, num_blocks: int) -> int:
        num_evicted = 0
        in_use: list[_Node] = []
        while num_evicted < num_blocks and self._leaves:
            last_used, _, node = heappop(self._leaves)
            node.queued = False
            if node.children:
                continue  # grew since it was queued; queued again when it is a leaf again
            if node.last_used != last_used:
                self._queue(node)
            elif self._pool.refcount(node.block) > 1:
                in_use.append(node)
            else:
                self._remove(node)
                num_evicted += 1
        for node in in_use:
            self._queue(node)
        self.num_evicted_blocks += num_evicted
        return num_evicted

    def check_integrity(self) -> None:
        reached: set[int] = set()
        for salt, root in self._roots.items():
            assert root.salt == salt and root.children, f"{salt = } has a wrong or empty root"
            stack: list[_Node] = list(root.children.values())
            while stack:
                node = stack.pop()
                self._check_node(node)
                reached.add(node.block)
                stack.extend(node.children.values())
        assert reached == set(self._nodes), f"unreachable: {set(self._nodes) - reached}"
        kept = {block for block in range(self._pool.num_blocks) if self._pool.is_kept(block)}
        assert kept == reached, f"{kept = } {reached = }"
        queued = [node for _, _, node in self._leaves]
        assert len(queued) == len(set(queued)) and all(node.queued for node in queued)

    def _check_node(self, node: _Node) -> None:
        assert self._nodes.get(node.block) is node, f"block {node.block} is not in the map"
        assert node.parent is not None and node.parent.children[node.key] is node
        assert len(node.key) == self._block_size, f"{node.key = }"
        assert node.children or node.queued, f"leaf {node.block} can never be evicted"
        if self._pool.refcount(node.block) == 1:
            below = {child.block: self._pool.refcount(child.block) for child in node.children.values()}
            assert all(refs == 1 for refs in below.values()), f"{node.block} pinned by {below}"

    def _root(self, salt: str) -> _Node:
        root = self._roots.get(salt)
        if root is None:
            root = self._roots[salt] = _Root(salt)
        return root

    def _child(self, parent: _Node, key: tuple[int, ...], block_table: list[int], index: int) -> _Node:
        """The node for block `index` of a table: an existing one with the same tokens, or a new one."""
        block = block_table[index]
        node = parent.children.get(key)
        if node is None:
            node = parent.children[key] = self._nodes[block] = _Node(parent, key, block)
            self._pool.keep(block)
        elif node.block != block:
            # Two sequences computed the same tokens at the same time; one copy is enough.
            self._pool.share(node.block)
            self._pool.release(block)
            block_table[index] = node.block
        node.last_used = self._now
        return node

    def _queue(self, leaf: _Node) -> None:
        leaf.queued = True
        heappush(self._leaves, (leaf.last_used, leaf.block, leaf))

    def _remove(self, leaf: _Node) -> None:
        parent = leaf.parent
        assert parent is not None and not leaf.children, f"{leaf.block = }"
        del parent.children[leaf.key]
        del self._nodes[leaf.block]
        self._pool.drop(leaf.block)
        if parent.children:
            return
        if isinstance(parent, _Root):
            del self._roots[parent.salt]
        elif not parent.queued:
            self._queue(parent)


def _num_common(ours: tuple[int, ...], theirs: list[int]) -> int:
    for index, (our, their) in enumerate(zip(ours, theirs, strict=False)):
        if our != their:
            return index
    return min(len(ours), len(theirs))
