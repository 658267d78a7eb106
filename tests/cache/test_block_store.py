import random
from collections import OrderedDict

import numpy as np
import pytest

from redline.cache.block_file import Layout
from redline.cache.block_store import HostStore
from redline.cache.paged import PagedKV
from redline.errors import CapacityError, ConfigError
from tests.cache.blocks import BLOCK_BYTES, assert_holds, bytes_of, key_of, load, open_store, save

CAPACITY = 5
KINDS = ("host", "disk")


@pytest.fixture
def open_kind(tmp_path):
    """Opens a store of a kind with room for so many blocks; those on disk again and again in one folder."""
    opened = []

    def open_one(kind, num_blocks=CAPACITY, block_bytes=BLOCK_BYTES):
        if kind == "host":
            store = HostStore(num_blocks * block_bytes + block_bytes - 1, block_bytes)
        else:
            capacity = Layout(block_bytes).num_bytes(num_blocks)
            store = open_store(tmp_path, [], block_bytes=block_bytes, capacity_bytes=capacity)
        opened.append(store)
        return store

    yield open_one
    for store in opened:
        store.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["f32", "f16", "int8"])
def test_blocks_of_the_cache_come_back_in_another_place(open_kind, kind, dtype, rng):
    kv = PagedKV([0, 0, 0], [3], block_size=4, num_kv_heads=2, head_dim=8, dtype=dtype)
    for cache in (*kv.k, *kv.v):
        cache[:] = rng.integers(-100, 100, cache.shape)
    before = [cache.copy() for cache in (*kv.k, *kv.v)]
    store = open_kind(kind, block_bytes=kv.block_bytes(0))
    store.save(key_of(1), [cache[1] for cache in (*kv.k, *kv.v)])
    store.flush()
    assert store.load(key_of(1), [cache[2] for cache in (*kv.k, *kv.v)])
    for cache, old in zip((*kv.k, *kv.v), before, strict=True):
        np.testing.assert_array_equal(cache, old[[0, 1, 1]])


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_is_a_copy(open_kind, kind):
    store = open_kind(kind)
    parts = [np.full(BLOCK_BYTES, 7, np.uint8)]
    store.save(key_of(1), parts)
    parts[0][:] = 8
    assert store.load(key_of(1), parts) and (parts[0] == 7).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_least_recently_used_goes(open_kind, kind):
    store = open_kind(kind, num_blocks=3)
    save(store, 1, 2, 3)
    save(store, 1)  # there already: used again
    assert_holds(store, 2)
    store.flush()
    save(store, 4)
    store.flush()
    assert key_of(3) not in store and load(store, 3) is None
    assert_holds(store, 1, 2, 4)
    save(store, 5, 6)
    store.flush()
    assert key_of(1) not in store and key_of(2) not in store
    assert_holds(store, 4, 5, 6)


@pytest.mark.parametrize("kind", KINDS)
def test_counters(open_kind, kind):
    store = open_kind(kind, num_blocks=2)
    save(store, 1, 2, 2, 3)
    store.flush()
    assert load(store, 3) and load(store, 3) and not load(store, 1)
    assert (store.num_blocks, store.num_bytes) == (2, 2 * BLOCK_BYTES)
    assert store.num_bytes <= store.capacity_bytes < 2 * BLOCK_BYTES + 2**14
    assert (store.num_saved, store.num_loaded, store.num_evicted) == (3, 2, 1)
    assert (store.num_damaged, store.num_dropped) == (0, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_closed_store_is_empty_and_keeps_nothing(open_kind, kind):
    store = open_kind(kind)
    save(store, 1)
    store.close()
    store.close()
    save(store, 2)
    store.flush()
    assert store.num_blocks == 0 and key_of(1) not in store and load(store, 1) is load(store, 2) is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_random_use_agrees_with_a_dictionary(open_kind, kind, seed):
    random_ = random.Random(seed)
    store = open_kind(kind)
    oracle: OrderedDict[int, bytes] = OrderedDict()
    for _ in range(300):
        n = random_.randrange(2 * CAPACITY)
        action = random_.choice(("save", "save", "load", "in", "restart" if kind == "disk" else "load"))
        if action == "save":
            save(store, n)
            store.flush()  # only blocks in the file are evicted
            oracle.setdefault(n, bytes_of(n))
            oracle.move_to_end(n)
            if len(oracle) > CAPACITY:
                oracle.popitem(last=False)
        elif action == "load":
            assert load(store, n) == oracle.get(n)
            if n in oracle:
                oracle.move_to_end(n)
        elif action == "restart":
            store.close()
            store = open_kind(kind)
        assert [n for n in range(2 * CAPACITY) if key_of(n) in store] == sorted(oracle)
        assert store.num_blocks == len(oracle)


def test_a_capacity_below_one_block_is_refused():
    with pytest.raises(ConfigError, match=r"is 767 bytes, but one block takes 768; give it at least that"):
        HostStore(BLOCK_BYTES - 1, BLOCK_BYTES)


def test_memory_that_the_system_does_not_have_is_refused():
    with pytest.raises(CapacityError, match="offload_memory does not get its .* bytes; lower it"):
        HostStore(2**60, BLOCK_BYTES)


def test_a_block_of_another_size_is_a_broken_invariant():
    store = HostStore(4 * BLOCK_BYTES, BLOCK_BYTES)
    save(store, 1, 2, 3, 4)
    with pytest.raises(AssertionError, match="1536"):
        save(store, 5, num_bytes=2 * BLOCK_BYTES)
    with pytest.raises((AssertionError, ValueError)):
        load(store, 1, num_bytes=2 * BLOCK_BYTES)
    assert_holds(store, 1, 2, 3, 4)
