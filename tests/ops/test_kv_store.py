import numpy as np
import pytest

from redline.errors import KernelError
from redline.ops.kv_store.layout import cache_shapes
from redline.ops.kv_store.reference import kv_store as reference
from tests.ops.backends import BACKENDS, KERNELS
from tests.ops.properties import strided

BLOCKS, BLOCK_SIZE = 10, 4


def caches(heads, dim, dtype):
    k_shape, v_shape = cache_shapes("f16", BLOCKS, heads, BLOCK_SIZE, dim)
    return np.full(k_shape, 7, dtype), np.full(v_shape, 7, dtype)


@pytest.mark.parametrize("ops", BACKENDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("tokens, heads, dim", [(1, 1, 1), (17, 3, 64), (40, 2, 33), (0, 1, 8)])
def test_writes_its_slots_and_nothing_else(ops, dtype, tokens, heads, dim, rng):
    k, v = rng.standard_normal((2, tokens, heads, dim)).astype(np.float32)
    slots = rng.permutation(BLOCKS * BLOCK_SIZE)[:tokens].astype(np.int32)
    slots[1::5] = -1
    got, wanted = caches(heads, dim, dtype), caches(heads, dim, dtype)
    ops.kv_store(strided(k), strided(v), got[0], got[1], slots)
    reference(k, v, wanted[0], wanted[1], slots)
    for array, expected in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("ops", KERNELS)
def test_rounds_to_half_as_numpy_does(ops, rng):
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float32)
    halves = halves[np.isfinite(halves)]
    middles = (halves[:-1].astype(np.float64) + halves[1:]).astype(np.float32) / 2
    noisy = (rng.standard_normal(20_000) * 10.0 ** rng.integers(-10, 6, 20_000)).astype(np.float32)
    special = np.array([np.inf, -np.inf, 65519.0, 65520.0, 1e30, -0.0, 1e-40], np.float32)
    values = np.concatenate([halves, middles, np.nextafter(middles, np.float32(np.inf)), noisy, special])
    k = np.concatenate([values, np.zeros(-len(values) % 37, np.float32)]).reshape(1, -1, 37)
    cache = np.zeros((1, k.shape[1], 1, 37), np.float16)
    ops.kv_store(k, k, cache, cache.copy(), np.zeros(1, np.int32))
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(cache[0, :, 0].view(np.uint16), k[0].astype(np.float16).view(np.uint16))


@pytest.mark.parametrize("ops", KERNELS)
def test_keeps_a_nan(ops):
    cache = np.zeros((1, 1, 1, 9), np.float16)
    ops.kv_store(*[np.full((1, 1, 9), np.nan, np.float32)] * 2, cache, cache.copy(), np.zeros(1, np.int32))
    assert np.isnan(cache).all()


@pytest.mark.parametrize("ops", BACKENDS)
def test_refuses_a_slot_beyond_the_cache(ops):
    k, cache = np.ones((1, 1, 8), np.float32), caches(1, 8, np.float32)
    with pytest.raises(KernelError, match="slot 40 is beyond"):
        ops.kv_store(k, k, cache[0], cache[1], np.array([40], np.int32))


@pytest.mark.parametrize("ops", KERNELS)
def test_refuses_arrays_that_disagree(ops):
    k, cache, slots = np.ones((1, 1, 8), np.float32), caches(1, 8, np.float32), np.zeros(1, np.int32)
    for wrong in (
        (k, k[:, :, :7], cache[0], cache[1], slots),
        (k, k, cache[0], cache[1].astype(np.float16), slots),
        (k, k, cache[0], cache[1], np.zeros(2, np.int32)),
        (k, k, *caches(2, 8, np.float32), slots),
    ):
        with pytest.raises(KernelError, match="do not fit"):
            ops.kv_store(*wrong)
    with pytest.raises(TypeError, match="float32 or float16"):
        ops.kv_store(k, k, *caches(1, 8, np.float64), slots)
