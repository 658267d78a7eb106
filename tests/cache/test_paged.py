import numpy as np
import pytest

from redline.cache.paged import PagedKV, block_bytes
from redline.errors import CapacityError, ConfigError

SHAPE = dict(num_layers=3, block_size=4, num_kv_heads=2, head_dim=8)


@pytest.mark.parametrize("dtype, size", [("f32", 4), ("f16", 2)])
def test_bytes_are_what_the_arrays_take(dtype, size):
    kv = PagedKV(num_blocks=5, dtype=dtype, **SHAPE)
    assert len(kv.k) == len(kv.v) == 3
    assert kv.k[0].shape == (5, 2, 4, 8) and kv.k[0].itemsize == size
    assert kv.nbytes == sum(cache.nbytes for cache in (*kv.k, *kv.v)) == 5 * block_bytes(dtype=dtype, **SHAPE)


def test_copy_takes_blocks_of_every_layer_in_order(rng):
    kv = PagedKV(num_blocks=5, dtype="f32", **SHAPE)
    for cache in (*kv.k, *kv.v):
        cache[:] = rng.standard_normal(cache.shape)
    before = [cache.copy() for cache in (*kv.k, *kv.v)]
    kv.copy([(0, 3), (3, 1)])
    for cache, old in zip((*kv.k, *kv.v), before, strict=True):
        for block, source in enumerate([0, 0, 2, 0, 4]):
            np.testing.assert_array_equal(cache[block], old[source])


def test_an_unknown_format_is_refused():
    with pytest.raises(ConfigError, match="'f8'; it must be one of f32, f16"):
        PagedKV(num_blocks=5, dtype="f8", **SHAPE)


def test_absurd_sizes_are_refused():
    with pytest.raises(CapacityError, match="does not fit in memory"):
        PagedKV(num_blocks=2**55, dtype="f32", **SHAPE)
