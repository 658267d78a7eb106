import pytest

from redline.core.blocks import BlockPool
from redline.errors import CapacityError, ConfigError


def test_a_block_is_free_again_after_its_last_owner():
    pool = BlockPool(2, 4)
    block = pool.allocate()
    pool.share(block)
    pool.release(block)
    assert pool.num_free == 1 and pool.refcount(block) == 1
    pool.release(block)
    assert pool.num_free == 2
    pool.check_integrity()


def test_allocated_blocks_are_distinct_until_none_is_free():
    pool = BlockPool(5, 1)
    assert sorted(pool.allocate() for _ in range(5)) == list(range(5))
    with pytest.raises(AssertionError, match="no free block"):
        pool.allocate()


def test_a_block_is_reclaimable_while_only_the_index_owns_it():
    pool = BlockPool(2, 4)
    block = pool.allocate()
    pool.keep(block)
    assert pool.num_reclaimable == 0 and pool.is_kept(block)
    pool.release(block)
    assert pool.num_reclaimable == 1 and pool.num_free == 1 and pool.num_available == 2
    pool.share(block)
    assert pool.num_reclaimable == 0 and pool.num_available == 1
    pool.release(block)
    pool.drop(block)
    assert pool.num_reclaimable == 0 and pool.num_free == 2 and not pool.is_kept(block)
    pool.check_integrity()


def test_dropping_a_block_in_use_does_not_free_it():
    pool = BlockPool(1, 4)
    block = pool.allocate()
    pool.keep(block)
    pool.drop(block)
    assert pool.num_free == 0 and pool.refcount(block) == 1
    pool.check_integrity()


@pytest.mark.parametrize(
    "misuse",
    [
        lambda pool, block: pool.share(1 - block),
        lambda pool, block: pool.release(1 - block),
        lambda pool, block: (pool.keep(block), pool.release(block), pool.release(block)),
        lambda pool, block: (pool.keep(block), pool.keep(block)),
        lambda pool, block: pool.keep(1 - block),
        lambda pool, block: pool.drop(block),
    ],
)
def test_misuse_is_an_assertion(misuse):
    pool = BlockPool(2, 4)
    block = pool.allocate()
    with pytest.raises(AssertionError):
        misuse(pool, block)


@pytest.mark.parametrize(
    "corrupt",
    [
        lambda pool: pool._free.append(0),
        lambda pool: pool._free.pop(),
        lambda pool: pool._free.append(pool._free[0]),
        lambda pool: pool._refcounts.__setitem__(0, 0),
        lambda pool: pool._kept.__setitem__(1, True),
        lambda pool: setattr(pool, "num_reclaimable", 1),
    ],
)
def test_check_integrity_sees_corruption(corrupt):
    pool = BlockPool(3, 4)
    pool.allocate()
    pool.check_integrity()
    corrupt(pool)
    with pytest.raises(AssertionError):
        pool.check_integrity()


def test_a_pool_without_blocks_or_tokens_is_refused():
    with pytest.raises(CapacityError, match="0 blocks"):
        BlockPool(0, 16)
    with pytest.raises(ConfigError, match="block_size is 0"):
        BlockPool(1, 0)
