import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redline.core.blocks import BlockPool
from redline.core.group_tables import GONE
from redline.core.prefix import NullPrefixIndex
from redline.core.radix import RadixPrefixIndex

SIZE = 2


@pytest.fixture
def pool():
    return BlockPool(16, SIZE)


class OneGroup(RadixPrefixIndex):
    """An index over one pool, with plain block tables."""

    def __init__(self, pool):
        super().__init__([pool])

    def match(self, token_ids, salt=""):
        return super().match(token_ids, salt)[0]

    def match_within(self, blocks, token_ids, salt=""):
        sources, num_tokens = super().match_within((blocks,), token_ids, salt)
        return (*(sources or (-1,)), num_tokens)

    def claim(self, blocks, num_queried_tokens):
        super().claim((blocks,), num_queried_tokens)

    def insert(self, token_ids, block_table, salt="", start=0):
        super().insert(token_ids, (block_table,), salt, start)


@pytest.fixture
def index(pool):
    return OneGroup(pool)


def store(pool, index, token_ids, salt=""):
    """What a sequence that comes and goes leaves behind; returns its block table."""
    matched = index.match([*token_ids, 0], salt)
    index.claim(matched, len(token_ids))
    table = matched + [pool.allocate() for _ in range(len(token_ids) // SIZE - len(matched))]
    num_matched = len(matched) * SIZE
    index.insert(token_ids[num_matched:], table, salt, len(table) - len(token_ids[num_matched:]) // SIZE)
    for block in table:
        pool.release(block)
    index.check_integrity()
    pool.check_integrity()
    return table


def test_finds_the_longest_beginning_in_whole_blocks(pool, index):
    table = store(pool, index, [1, 2, 3, 4, 5, 6])
    assert index.match([1, 2, 3, 4, 9, 9, 9]) == table[:2]
    assert index.match([1, 2, 3]) == table[:1]
    assert index.match([2, 1, 3]) == []
    assert index.match([1]) == []


def test_the_last_token_is_never_matched(pool, index):
    table = store(pool, index, [1, 2, 3, 4])
    assert index.match([1, 2, 3, 4]) == table[:1]
    assert index.match([1, 2, 3, 4, 5]) == table
    assert index.match([1, 2]) == []


def test_finds_the_block_that_agrees_furthest(pool, index):
    table = store(pool, index, [1, 2, 3, 4])
    other = store(pool, index, [1, 2, 3, 9])
    assert index.match_within(table[:1], [1, 2, 3, 9, 5]) == (other[1], 2)
    assert index.match_within(table[:1], [1, 2, 3, 4]) in ((table[1], 1), (other[1], 1))
    assert index.match_within([], [1, 7, 7]) == (table[0], 1)
    assert index.match_within([], [7, 1, 7]) == index.match_within([], [1], "b") == (-1, 0)
    assert index.match_within([], [1]) == (-1, 0), "the last token is never matched"


def test_salts_do_not_share(pool, index):
    table = store(pool, index, [1, 2, 3, 4], "a")
    assert index.match([1, 2, 3, 4, 5], "b") == index.match([1, 2, 3, 4, 5]) == []
    assert index.match([1, 2, 3, 4, 5], "a") == table


def test_matching_changes_nothing(pool, index):
    store(pool, index, [1, 2, 3, 4])
    before = [pool.refcount(block) for block in range(16)], index.num_queried_tokens
    index.match([1, 2, 3, 4, 5])
    assert before == ([pool.refcount(block) for block in range(16)], index.num_queried_tokens)


def test_claiming_counts_and_takes_references(pool, index):
    table = store(pool, index, [1, 2, 3, 4])
    queried, hits = index.num_queried_tokens, index.num_hit_tokens
    index.claim(index.match([1, 2, 3, 4, 5]), 5)
    assert (index.num_queried_tokens - queried, index.num_hit_tokens - hits) == (5, 4)
    assert [pool.refcount(block) for block in table] == [2, 2]


def test_a_block_that_is_not_full_is_left_out(pool, index):
    table = [pool.allocate(), pool.allocate()]
    index.insert([1, 2, 3], table)
    index.insert([3], table, start=1)
    assert pool.is_kept(table[0]) and not pool.is_kept(table[1])


def test_a_second_copy_is_given_up_for_the_first(pool, index):
    first = [pool.allocate(), pool.allocate()]
    second = [pool.allocate(), pool.allocate(), pool.allocate()]
    index.insert([1, 2, 3, 4], first)
    duplicates = second[:2]
    index.insert([1, 2, 3, 4, 5, 6], second)
    assert second[:2] == first and pool.is_kept(second[2])
    assert [pool.refcount(block) for block in duplicates] == [0, 0]
    assert [pool.refcount(block) for block in first] == [3, 3]
    index.check_integrity()


def test_evicts_the_least_recently_used_leaf_first(pool, index):
    old, new = store(pool, index, [1, 2]), store(pool, index, [3, 4])
    index.touch(old)
    assert index.evict(1) == 1
    assert index.match([1, 2, 0]) == old and index.match([3, 4, 0]) == []
    assert pool.refcount(new[0]) == 0 and index.num_evicted_blocks == 1


def test_evicts_the_end_of_a_path_before_its_beginning(pool, index):
    table = store(pool, index, [1, 2, 3, 4, 5, 6])
    assert index.evict(2) == 2
    assert index.match([1, 2, 3, 4, 5, 6, 7]) == table[:1]
    index.check_integrity()


def test_never_evicts_what_a_sequence_uses(pool, index):
    used = store(pool, index, [1, 2, 3, 4])
    index.claim(used, 4)
    store(pool, index, [1, 2, 5, 6])
    assert index.evict(16) == 1
    assert index.match([1, 2, 3, 4, 5]) == used
    for block in used:
        pool.release(block)
    assert index.evict(16) == 2 and pool.num_free == 16
    index.check_integrity()


def test_an_empty_tree_forgets_its_salt(pool, index):
    for salt in ("a", "b"):
        store(pool, index, [1, 2, 3, 4], salt)
    index.evict(16)
    assert index._roots == {} and index._nodes == {} and index._heaps == [[]]


@pytest.mark.parametrize(
    "corrupt",
    [
        lambda pool, index, table: pool.drop(table[0]),
        lambda pool, index, table: index._nodes.pop(table[1]),
        lambda pool, index, table: (
            index._heaps[0].clear() or index._nodes[table[1]].queued.__setitem__(0, False)
        ),
        lambda pool, index, table: index._roots.clear(),
        lambda pool, index, table: pool.share(table[1]),
        lambda pool, index, table: index._nodes[table[0]].children.clear(),
    ],
)
def test_check_integrity_sees_corruption(pool, index, corrupt):
    table = store(pool, index, [1, 2, 3, 4])
    corrupt(pool, index, table)
    with pytest.raises(AssertionError):
        index.check_integrity()


def test_null_index_keeps_nothing(pool):
    null = NullPrefixIndex()
    table = [pool.allocate()]
    null.insert([1, 2], (table,))
    assert null.match([1, 2, 3]) == ([],) and null.evict(1) == 0
    null.claim(([],), 3)
    null.touch([])
    null.check_integrity()
    assert pool.refcount(table[0]) == 1 and null.num_queried_tokens == null.num_hit_tokens == 0


paths = st.lists(st.integers(0, 1), min_size=SIZE, max_size=5 * SIZE).map(tuple)
actions = st.lists(st.tuples(st.sampled_from(["store", "store", "evict"]), paths), max_size=40)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(actions)
def test_agrees_with_a_plain_list_of_beginnings(actions):
    pool = BlockPool(64, SIZE)
    index = OneGroup(pool)
    last_used: dict[tuple[int, ...], int] = {}  # the beginnings in the index, in whole blocks
    for now, (action, path) in enumerate(actions):
        if action == "evict":
            _evict_from_list(last_used)
            index.evict(1)
        elif pool.num_free >= len(path) // SIZE:
            store(pool, index, list(path))
            for stop in range(SIZE, len(path) + 1, SIZE):
                last_used[path[:stop]] = now
        for known in [path, *last_used]:
            found = len(index.match([*known, 0])) * SIZE
            assert found == max(
                (n for n in range(SIZE, len(known) + 1, SIZE) if known[:n] in last_used), default=0
            )
    assert pool.num_reclaimable == len(last_used)


def _evict_from_list(last_used):
    leaves = [
        path for path in last_used if not any(other[: len(path)] == path != other for other in last_used)
    ]
    if leaves:
        del last_used[min(leaves, key=last_used.__getitem__)]


WINDOWED = [(0, 8), (5, 8)]  # window and blocks of each group; a token sees 4 before it


def windowed(*groups):
    pools = [BlockPool(num_blocks, SIZE, window) for window, num_blocks in groups or WINDOWED]
    return pools, RadixPrefixIndex(pools)


def store_in_groups(pools, index, token_ids):
    """What a sequence leaves behind that matched nothing and held all its blocks."""
    num_blocks = len(token_ids) // SIZE
    tables = tuple([pool.allocate() for _ in range(num_blocks)] for pool in pools)
    index.insert(token_ids, tables)
    for pool, table in zip(pools, tables, strict=True):
        for block in table:
            pool.release(block)
    index.check_integrity()
    return tables


def test_a_match_leaves_out_what_lies_behind_a_window():
    pools, index = windowed()
    full, near = store_in_groups(pools, index, [1, 2, 3, 4, 5, 6, 7, 8])
    assert index.match([1, 2, 3, 4, 5, 6, 7, 8, 9]) == (full, [GONE, GONE, *near[2:]])
    assert index.match([1, 2, 3, 4, 5]) == (full[:2], near[:2])


def test_a_match_ends_where_its_window_is_still_there():
    pools, index = windowed()
    full, near = store_in_groups(pools, index, [1, 2, 3, 4, 5, 6, 7, 8])
    assert index.evict(1, group=1) == 1  # the first step's, which nobody who goes on after four reads
    assert index.match([1, 2, 3, 4, 5, 6, 7, 8, 9]) == (full, [GONE, GONE, *near[2:]])
    assert index.match([1, 2, 3, 4, 5]) == ([], []) and index.match([1, 2, 3, 4, 5, 6, 7])[0] == full[:3]
    assert index.evict(2, group=1) == 2
    assert index.match([1, 2, 3, 4, 5, 6, 7, 8, 9]) == ([], [])
    assert pools[0].num_free == 4 and pools[1].num_free == 7
    index.check_integrity()


def test_a_step_that_lost_its_window_gets_a_new_one():
    pools, index = windowed()
    full, _ = store_in_groups(pools, index, [1, 2, 3, 4])
    index.evict(2, group=1)
    again = tuple([pool.allocate(), pool.allocate()] for pool in pools)
    index.insert([1, 2, 3, 4], again)
    assert again[0] == full and index.match([1, 2, 3, 4, 5]) == again
    index.check_integrity()


def test_evicting_a_step_takes_its_windows_with_it():
    pools, index = windowed()
    store_in_groups(pools, index, [1, 2, 3, 4])
    assert index.evict(8) == 2
    assert [pool.num_free for pool in pools] == [8, 8] and index.match([1, 2, 3]) == ([], [])
    assert index.evict(8, group=1) == 0


def test_without_a_group_that_sees_everything_any_block_can_go():
    pools, index = windowed((5, 8))
    (near,) = store_in_groups(pools, index, [1, 2, 3, 4, 5, 6, 7, 8])
    assert index.evict(1) == 1
    assert index.match([1, 2, 3, 4, 5, 6, 7, 8, 9]) == ([GONE, GONE, *near[2:]],)
    assert index.evict(8) == 3 and index._roots == {}
    index.check_integrity()


def test_the_list_of_what_can_be_evicted_stays_short():
    pools, index = windowed((0, 4), (5, 4))
    for token in range(500):
        store_in_groups(pools, index, [token, 0, 1, 2])
        index.evict(2)
    assert len(index._heaps[1]) <= 66
    index.check_integrity()
