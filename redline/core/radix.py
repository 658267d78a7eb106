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

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from heapq import heapify, heappop, heappush
from itertools import count, islice

from redline.core.blocks import BlockPool
from redline.core.group_tables import GONE
from redline.core.offload import NullOffload, Offload, next_key, root_key
from redline.core.prefix import Match

MAX_COMPARED = 64  # steps that follow one step, in the search for one that agrees in part


class _Node:
    """One step of a path: a block per layer group; its key among its parent's children are its tokens."""

    __slots__ = ("blocks", "children", "digest", "key", "last_used", "parent", "queued")

    def __init__(self, parent: _Node | None, key: tuple[int, ...], num_groups: int) -> None:
        self.parent = parent
        self.key = key
        self.blocks = [GONE] * num_groups
        self.children: dict[tuple[int, ...], _Node] = {}
        self.digest: bytes | None = None  # its key in slower memory, once that was asked for
        self.last_used = 0
        self.queued = [False] * num_groups  # stands in the eviction heap of a group


class _Root(_Node):
    """Start of all paths of one salt; holds no block."""

    __slots__ = ("salt",)

    def __init__(self, salt: str) -> None:
        super().__init__(None, (), 0)
        self.salt = salt
        self.digest = root_key(salt)


class RadixPrefixIndex:
    """A tree per salt; what no sequence uses goes first, least recently used first.

    Of the group without a window only leaves go, and the whole step with them; of others any block. Time is
    counted in uses, not seconds, so equal calls give equal evictions. Lookup and insertion cost one
    dictionary access per step.
    """

    keeps = True

    def __init__(self, pools: Sequence[BlockPool], offload: Offload | None = None) -> None:
        assert all(pool.window for pool in pools[1:]), "layers that see everything are the first group"
        self.num_queried_tokens = self.num_hit_tokens = self.num_hits = self.num_evicted_blocks = 0
        self._pools = pools
        self._offload = offload or NullOffload()
        self._latest: deque[_Node] = deque(maxlen=pools[0].num_blocks)  # that were not persisted yet
        self._windowed = [(group, pool) for group, pool in enumerate(pools) if pool.window]
        self._block_size = pools[0].block_size
        self._roots: dict[str, _Root] = {}
        self._nodes: dict[int, _Node] = {}  # by block of the first group
        # A heap for each group, of (last_used when queued, a tie-breaker, node).
        self._heaps: list[list[tuple[int, int, _Node]]] = [[] for _ in pools]
        self._ties = count()
        self._now = 0

    def match(self, token_ids: list[int], salt: str = "") -> Match:
        path = list(self._path(token_ids, salt))
        tables = tuple([node.blocks[group] for node in path] for group in range(len(self._pools)))
        if not self._windowed:
            return tables
        length = self._usable(tables)
        for table in tables:
            del table[length:]
        for group, pool in self._windowed:
            first = pool.first_read(length * self._block_size)
            tables[group][:first] = [GONE] * first
        return tables

    def match_within(
        self, matched: Match, token_ids: list[int], salt: str = ""
    ) -> tuple[tuple[int, ...], int]:
        node = self._nodes[matched[0][-1]] if matched[0] else self._roots.get(salt)
        start = len(matched[0]) * self._block_size
        following = token_ids[start : min(start + self._block_size, len(token_ids) - 1)]
        best: tuple[int, ...] = ()
        most = 0
        children = reversed(node.children.values()) if node is not None else ()
        for child in islice(children, MAX_COMPARED):  # the newest first
            num_tokens = _num_common(child.key, following)
            if num_tokens > most and GONE not in child.blocks:
                best, most = tuple(child.blocks), num_tokens
        return best, most

    def claim_within(self, block: int, num_tokens: int) -> None:
        self.touch((block,))
        self.num_hit_tokens += num_tokens

    def claim(self, matched: Match, num_queried_tokens: int) -> None:
        for pool, table in zip(self._pools, matched, strict=True):
            for block in table:
                if block != GONE:
                    pool.share(block)
        self.touch(matched[0])
        self.num_queried_tokens += num_queried_tokens
        self.num_hit_tokens += len(matched[0]) * self._block_size
        self.num_hits += bool(matched[0])

    def insert(self, token_ids: list[int], block_tables: Match, salt: str = "", start: int = 0) -> None:
        size = self._block_size
        stop = min(start + len(token_ids) // size, len(block_tables[0]))
        if stop == start:
            return
        self._now += 1
        node = self._nodes[block_tables[0][start - 1]] if start else self._root(salt)
        for index in range(start, stop):
            offset = (index - start) * size
            key = tuple(token_ids[offset : offset + size])
            node = self._child(node, key, block_tables, index)
        self._queue(node)

    def touch(self, blocks: Iterable[int]) -> None:
        self._now += 1
        for block in blocks:
            if block != GONE:
                self._nodes[block].last_used = self._now

    def evict(self, num_blocks: int, group: int = 0) -> int:
        heap, pool = self._heaps[group], self._pools[group]
        num_evicted = 0
        in_use: list[_Node] = []
        while num_evicted < num_blocks and heap:
            last_used, _, node = heappop(heap)
            node.queued[group] = False
            block = node.blocks[group]
            if block == GONE or (node.children and not pool.window):
                continue  # gone with its step, or not a leaf any more: queued again when it is one again
            if node.last_used != last_used:
                self._queue_for(group, node)
            elif pool.refcount(block) > 1:
                in_use.append(node)
            else:
                self._evict_from(node, group)
                num_evicted += 1
        for node in in_use:
            self._queue_for(group, node)
        return num_evicted

    def key_after(self, matched: Match, salt: str = "") -> bytes:
        return _digest(self._nodes[matched[0][-1]]) if matched[0] else root_key(salt)

    def start_over(self) -> None:
        self._latest.clear()
        self._latest.extend(sorted(self._all_nodes(), key=lambda node: node.last_used))

    def persist(self, num_steps: int) -> int:
        nodes = [self._latest.popleft() for _ in range(min(num_steps, len(self._latest)))]
        held = [(group, node, block) for node in nodes for group, block in enumerate(node.blocks)]
        for group, node, block in held:
            if block != GONE:
                self._offload.persist(group, partial(_digest, node), block)
        return len(nodes)

    def check_integrity(self) -> None:
        reached: list[set[int]] = [set() for _ in self._pools]
        for salt, root in self._roots.items():
            assert root.salt == salt and root.children, f"{salt = } has a wrong or empty root"
        for node in self._all_nodes():
            self._check_node(node)
            for group, block in enumerate(node.blocks):
                reached[group].add(block)
        for pool, blocks in zip(self._pools, reached, strict=True):
            kept = {block for block in range(pool.num_blocks) if pool.is_kept(block)}
            assert kept == blocks - {GONE}, f"{kept = } {blocks = }"
        assert reached[0] - {GONE} == set(self._nodes), f"unreachable: {set(self._nodes) - reached[0]}"
        for group, heap in enumerate(self._heaps):
            queued = [node for _, _, node in heap]
            assert len(queued) == len(set(queued)) and all(node.queued[group] for node in queued)

    def _all_nodes(self) -> Iterator[_Node]:
        stack: list[_Node] = list(self._roots.values())
        while stack:
            children = stack.pop().children.values()
            yield from children
            stack.extend(children)

    def _check_node(self, node: _Node) -> None:
        assert node.parent is not None and node.parent.children[node.key] is node
        assert len(node.key) == self._block_size, f"{node.key = }"
        assert node.children or node.blocks.count(GONE) < len(node.blocks), f"{node.key} holds nothing"
        first = node.blocks[0]
        assert first == GONE or self._nodes.get(first) is node, f"block {first} is not in the map"
        for group, pool in enumerate(self._pools):
            if node.blocks[group] != GONE and (pool.window or not node.children):
                assert node.queued[group], f"{node.blocks} can never be evicted from {group = }"
        if not self._pools[0].window and self._pools[0].refcount(first) == 1:
            below = {child.blocks[0] for child in node.children.values()}
            assert all(self._pools[0].refcount(block) == 1 for block in below), f"{first} pinned by {below}"

    def _path(self, token_ids: list[int], salt: str) -> Iterator[_Node]:
        node: _Node | None = self._roots.get(salt)
        size = self._block_size
        for start in range(0, len(token_ids) - size, size):
            if node is None:
                return
            node = node.children.get(tuple(token_ids[start : start + size]))
            if node is not None:
                yield node

    def _usable(self, tables: Match) -> int:
        """The most steps of a path after which every window is there."""
        present = [0] * len(self._windowed)  # steps in a row up to here, by group
        usable = 0
        for length in range(1, len(tables[0]) + 1):
            complete = True
            for each, (group, pool) in enumerate(self._windowed):
                present[each] = 0 if tables[group][length - 1] == GONE else present[each] + 1
                complete &= present[each] >= length - pool.first_read(length * self._block_size)
            if complete:
                usable = length
        return usable

    def _root(self, salt: str) -> _Node:
        root = self._roots.get(salt)
        if root is None:
            root = self._roots[salt] = _Root(salt)
        return root

    def _child(self, parent: _Node, key: tuple[int, ...], block_tables: Match, index: int) -> _Node:
        """The node for step `index` of some tables: an existing one with the same tokens, or a new one."""
        node = parent.children.get(key)
        if node is None:
            node = parent.children[key] = _Node(parent, key, len(self._pools))
            self._latest.append(node)
        node.last_used = self._now
        for group, table in enumerate(block_tables):
            if table[index] == GONE:
                continue  # behind the window of whoever brings this step
            if node.blocks[group] == GONE:
                self._adopt(node, group, table[index])
            elif node.blocks[group] != table[index]:
                # Two sequences computed the same tokens at the same time; one copy is enough.
                self._pools[group].share(node.blocks[group])
                self._pools[group].release(table[index])
                table[index] = node.blocks[group]
        return node

    def _adopt(self, node: _Node, group: int, block: int) -> None:
        self._pools[group].keep(block)
        node.blocks[group] = block
        if group == 0:
            self._nodes[block] = node
        if self._pools[group].window:
            self._queue_for(group, node)

    def _queue(self, node: _Node) -> None:
        """Let a leaf of the group without a window be evicted; the others were queued when they came in."""
        if not self._pools[0].window and not node.children:
            self._queue_for(0, node)

    def _queue_for(self, group: int, node: _Node) -> None:
        if node.queued[group]:
            return
        node.queued[group] = True
        heap = self._heaps[group]
        heappush(heap, (node.last_used, next(self._ties), node))
        if len(heap) > 64 and len(heap) > 2 * self._pools[group].num_blocks:
            # Steps that went with their leaf are still listed for the windows.
            heap[:] = [entry for entry in heap if entry[2].blocks[group] != GONE]
            heapify(heap)

    def _evict_from(self, node: _Node, group: int) -> None:
        """Give up a block, and with the block of a group without a window the whole step."""
        for each in range(len(self._pools)) if not self._pools[group].window else (group,):
            if node.blocks[each] != GONE:
                self._drop(node, each)
        self._prune(node)

    def _drop(self, node: _Node, group: int) -> None:
        block = node.blocks[group]
        self._offload.spill(group, partial(_digest, node), block)
        node.blocks[group] = GONE
        self._pools[group].drop(block)
        self.num_evicted_blocks += 1
        if group == 0:
            del self._nodes[block]

    def _prune(self, node: _Node) -> None:
        """Remove a step that holds nothing and leads nowhere, and those before it that then do so too."""
        while not node.children and all(block == GONE for block in node.blocks):
            parent = node.parent
            if parent is None:
                assert isinstance(node, _Root)
                del self._roots[node.salt]
                return
            del parent.children[node.key]
            node = parent
        self._queue(node)


def _digest(node: _Node) -> bytes:
    """The key of a step's blocks in slower memory: a hash of all tokens up to there, and of the salt."""
    unknown = []
    while (digest := node.digest) is None:
        unknown.append(node)
        assert node.parent is not None
        node = node.parent
    for node in reversed(unknown):
        digest = node.digest = next_key(digest, node.key)
    return digest


def _num_common(ours: tuple[int, ...], theirs: list[int]) -> int:
    for index, (our, their) in enumerate(zip(ours, theirs, strict=False)):
        if our != their:
            return index
    return min(len(ours), len(theirs))
