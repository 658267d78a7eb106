import numpy as np
import pytest

from redline.errors import KernelError
from redline.ops.kv_store.layout import cache_shapes, read_keys, read_values, split_codes
from redline.ops.kv_store.reference import kv_store as reference
from tests.ops.backends import BACKENDS, KERNELS
from tests.ops.properties import strided

BLOCKS, BLOCK_SIZE = 10, 4
FORMATS = {"f32": np.float32, "f16": np.float16, "int8": np.int8}


def caches(heads, dim, kv_format):
    shapes = cache_shapes(kv_format, BLOCKS, heads, BLOCK_SIZE, dim)
    return [np.full(shape, 7, FORMATS[kv_format]) for shape in shapes]


@pytest.mark.parametrize("ops", BACKENDS)
@pytest.mark.parametrize("kv_format", FORMATS)
@pytest.mark.parametrize("tokens, heads, dim", [(1, 1, 1), (17, 3, 64), (40, 2, 33), (0, 1, 8)])
def test_writes_its_slots_and_nothing_else(ops, kv_format, tokens, heads, dim, rng):
    k, v = rng.standard_normal((2, tokens, heads, dim)).astype(np.float32)
    slots = rng.permutation(BLOCKS * BLOCK_SIZE)[:tokens].astype(np.int32)
    slots[1::5] = -1
    got, wanted = caches(heads, dim, kv_format), caches(heads, dim, kv_format)
    ops.kv_store(strided(k), strided(v), got[0], got[1], slots)
    reference(k, v, wanted[0], wanted[1], slots)
    for array, expected in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("ops", BACKENDS)
@pytest.mark.parametrize("kv_format", FORMATS)
def test_runs_of_slots_are_read_back_as_they_were_written(ops, kv_format, rng):
    """Runs that end with a block, with a gap, and with the call."""
    slots = np.array([2, 3, 4, 5, 6, 7, 8, 30, 31, 20, 21, 22, 23], np.int32)
    k, v = rng.standard_normal((2, len(slots), 3, 24)).astype(np.float32)
    k_cache, v_cache = caches(3, 24, kv_format)
    ops.kv_store(k, v, k_cache, v_cache, slots)
    tolerance = {"f32": 0, "f16": 1e-3, "int8": 0.02}[kv_format]
    for cache, read, wanted in ((k_cache, read_keys, k), (v_cache, read_values, v)):
        got = read(np, cache, 24, np.float32)[slots // BLOCK_SIZE, :, slots % BLOCK_SIZE]
        np.testing.assert_allclose(got, wanted, atol=tolerance, rtol=tolerance)


def one_token(ops, row, kv_format):
    """What a cache of one block of one token holds after `row` was stored: (codes or numbers, scales)."""
    row = np.asarray(row, np.float32).reshape(1, 1, -1)
    dim = row.shape[2]
    k_cache, v_cache = (
        np.zeros(shape, FORMATS[kv_format]) for shape in cache_shapes(kv_format, 1, 1, 1, dim)
    )
    ops.kv_store(row, row, k_cache, v_cache, np.zeros(1, np.int32))
    np.testing.assert_array_equal(k_cache.reshape(-1), v_cache.reshape(-1))
    if kv_format == "int8":
        codes, scales = split_codes(np, v_cache, dim)
        return codes.reshape(-1), scales.reshape(-1)
    return v_cache.reshape(-1), None


@pytest.mark.parametrize("ops", BACKENDS)
def test_rounds_to_half_as_numpy_does_and_saturates(ops, rng):
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float32)
    halves = halves[np.isfinite(halves)]
    middles = (halves[:-1].astype(np.float64) + halves[1:]).astype(np.float32) / 2
    noisy = (rng.standard_normal(20_000) * 10.0 ** rng.integers(-10, 6, 20_000)).astype(np.float32)
    special = np.array([np.inf, -np.inf, 65519.0, 65520.0, -65536.0, 1e30, -0.0, 1e-40], np.float32)
    values = np.concatenate([halves, middles, np.nextafter(middles, np.float32(np.inf)), noisy, special])
    got, _ = one_token(ops, values, "f16")
    wanted = np.clip(values, -65504, 65504).astype(np.float16)
    assert np.isfinite(got).all()
    np.testing.assert_array_equal(got.view(np.uint16), wanted.view(np.uint16))


@pytest.mark.parametrize("ops", BACKENDS)
@pytest.mark.parametrize("kv_format", ["f32", "f16"])
def test_keeps_a_nan_and_its_neighbours(ops, kv_format):
    row = np.arange(13, dtype=np.float32)
    row[[2, 11]] = np.nan
    np.testing.assert_array_equal(one_token(ops, row, kv_format)[0], row.astype(FORMATS[kv_format]))


@pytest.mark.parametrize("ops", BACKENDS)
def test_int8_codes_are_the_nearest_of_127_steps(ops, rng):
    for size in (1e-30, 1e-3, 1.0, 1e4):
        row = (rng.standard_normal(37) * size).astype(np.float32)
        codes, scale = one_token(ops, row, "int8")
        np.testing.assert_allclose(scale[0], np.abs(row).max() / 127, rtol=1e-6)
        assert np.abs(codes).max() == 127
        np.testing.assert_allclose(codes * scale[0], row, atol=0.5001 * scale[0])


@pytest.mark.parametrize("ops", BACKENDS)
@pytest.mark.parametrize(
    "row, codes, scale",
    [
        ([0.0, -0.0, 0.0], [0, 0, 0], 0.0),
        ([np.nan, 5.0, -1.0], [0, 0, 0], np.nan),
        ([np.inf, 65504.0, -1e38], [127, 127, -127], 65504 / 127),
        ([0.5, 1.5, 2.5, 127.0], [0, 2, 2, 127], 1.0),
    ],
)
def test_int8_of_special_rows(ops, row, codes, scale):
    got_codes, got_scale = one_token(ops, row, "int8")
    np.testing.assert_array_equal(got_codes, codes)
    np.testing.assert_allclose(got_scale, [scale], rtol=1e-6)


@pytest.mark.parametrize("ops", BACKENDS)
def test_refuses_a_slot_beyond_the_cache(ops):
    k = np.ones((1, 1, 8), np.float32)
    for kv_format in FORMATS:
        with pytest.raises(KernelError, match="slot 40 is beyond"):
            ops.kv_store(k, k, *caches(1, 8, kv_format), np.array([40], np.int32))


@pytest.mark.parametrize("ops", KERNELS)
def test_refuses_arrays_that_disagree(ops):
    k, slots = np.ones((1, 1, 8), np.float32), np.zeros(1, np.int32)
    k_cache, v_cache = caches(1, 8, "f32")
    for wrong in (
        (k, k[:, :, :7], k_cache, v_cache, slots),
        (k, k, k_cache, v_cache.astype(np.float16), slots),
        (k, k, v_cache, v_cache, slots),
        (k, k, k_cache, v_cache, np.zeros(2, np.int32)),
        (k, k, *caches(2, 8, "f32"), slots),
        (k, k, *caches(1, 9, "int8"), slots),
        (k, k, k_cache[0], v_cache[0], slots),
    ):
        with pytest.raises(KernelError, match="do not fit"):
            ops.kv_store(*wrong)
    with pytest.raises(TypeError, match="float32, float16 or int8"):
        ops.kv_store(k, k, k_cache.astype(np.float64), v_cache.astype(np.float64), slots)
