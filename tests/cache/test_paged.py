import numpy as np
import pytest

from redline.cache.paged import PagedKV, block_bytes
from redline.errors import CapacityError, ConfigError

SHAPE = dict(block_size=4, num_kv_heads=2, head_dim=8)
THREE = dict(groups=[0, 0, 0], **SHAPE)


@pytest.mark.parametrize(
    "dtype, k_shape, v_shape, token_bytes",
    [
        ("f32", (5, 2, 8, 4), (5, 2, 4, 8), 8 * 4),
        ("f16", (5, 2, 8, 4), (5, 2, 4, 8), 8 * 2),
        ("bf16", (5, 2, 8, 4), (5, 2, 4, 8), 8 * 2),
        ("int8", (5, 2, 48), (5, 2, 48), 8 + 4),
        ("fp8", (5, 2, 48), (5, 2, 48), 8 + 4),
    ],
)
def test_bytes_are_what_the_arrays_take(dtype, k_shape, v_shape, token_bytes):
    kv = PagedKV(num_blocks=[5], dtype=dtype, **THREE)
    assert len(kv.k) == len(kv.v) == 3
    assert kv.k[0].shape == k_shape and kv.v[0].shape == v_shape
    assert kv.nbytes == 3 * 2 * 5 * 2 * 4 * token_bytes
    assert kv.nbytes == sum(cache.nbytes for cache in (*kv.k, *kv.v))
    assert kv.nbytes == 5 * block_bytes(num_layers=3, dtype=dtype, **SHAPE)


@pytest.mark.parametrize("dtype", ["f32", "bf16", "int8", "fp8"])
def test_copy_takes_blocks_of_every_layer_in_order(dtype, rng):
    kv = PagedKV(num_blocks=[5], dtype=dtype, **THREE)
    for cache in (*kv.k, *kv.v):
        cache[:] = rng.integers(-100, 100, cache.shape)  # the scales too
    before = [cache.copy() for cache in (*kv.k, *kv.v)]
    kv.copy([(0, 0, 3), (0, 3, 1)])
    for cache, old in zip((*kv.k, *kv.v), before, strict=True):
        for block, source in enumerate([0, 0, 2, 0, 4]):
            np.testing.assert_array_equal(cache[block], old[source])


@pytest.mark.parametrize("dtype", ["f16", "int8"])
def test_layers_that_share_have_the_arrays_of_their_owner(dtype, rng):
    kv = PagedKV(num_blocks=[5], dtype=dtype, owners=[0, 1, 0], **THREE)
    assert kv.k[2] is kv.k[0] and kv.v[2] is kv.v[0] and kv.k[1] is not kv.k[0]
    assert kv.nbytes == 5 * block_bytes(num_layers=2, dtype=dtype, **SHAPE)
    for cache in (*kv.k, *kv.v):
        cache[:] = rng.integers(-100, 100, cache.shape)
    before = [kv.k[0].copy(), kv.v[1].copy()]
    kv.copy([(0, 0, 3), (0, 3, 0), (0, 1, 4)])
    for cache, old in zip([kv.k[2], kv.v[1]], before, strict=True):
        for block, source in enumerate([0, 1, 2, 0, 1]):
            np.testing.assert_array_equal(cache[block], old[source])


def test_an_unknown_format_is_refused():
    with pytest.raises(ConfigError, match="'f8'; it must be one of f32, f16, bf16, int8, fp8, int4"):
        PagedKV(num_blocks=[5], dtype="f8", **THREE)


def test_int4_takes_36_bytes_for_a_head_of_64():
    kv = PagedKV([0], [5], block_size=4, num_kv_heads=2, head_dim=64, dtype="int4")
    assert kv.k[0].shape == kv.v[0].shape == (5, 2, 4 * 36)
    assert kv.nbytes == 5 * block_bytes(1, 4, 2, 64, "int4") == 2 * 5 * 2 * 4 * 36


def test_int4_refuses_a_head_that_its_groups_do_not_divide():
    with pytest.raises(
        ConfigError, match="multiple of 32 dimensions; this model's have 80; choose .* int8, fp8$"
    ):
        PagedKV([0], [5], block_size=4, num_kv_heads=2, head_dim=80, dtype="int4")


def test_absurd_sizes_are_refused():
    with pytest.raises(CapacityError, match="does not fit in memory"):
        PagedKV(num_blocks=[2**55], dtype="f32", **THREE)


def test_layers_of_a_group_have_their_own_number_of_blocks(rng):
    kv = PagedKV(groups=[1, 0, 1], num_blocks=[5, 2], dtype="f32", **SHAPE)
    assert [len(cache) for cache in kv.k] == [len(cache) for cache in kv.v] == [2, 5, 2]
    for cache in (*kv.k, *kv.v):
        cache[:] = rng.standard_normal(cache.shape)
    before = [cache.copy() for cache in (*kv.k, *kv.v)]
    kv.copy([(1, 0, 1)])
    for layer, (cache, old) in enumerate(zip((*kv.k, *kv.v), before, strict=True)):
        assert np.array_equal(cache[1], old[0 if layer % 3 != 1 else 1])
