import numpy as np
import pytest

from redline.errors import KernelError
from redline.ops.kv_store.decode import read_keys, read_values, split_codes
from redline.ops.kv_store.layout import cache_shapes
from redline.ops.kv_store.reference import kv_store as reference
from tests.ops.backends import BACKENDS, KERNELS
from tests.ops.kv_caches import NUMPY as FORMATS
from tests.ops.kv_caches import SCALED
from tests.ops.properties import strided

BLOCKS, BLOCK_SIZE = 10, 4


def caches(heads, dim, kv_format):
    shapes = cache_shapes(kv_format, BLOCKS, heads, BLOCK_SIZE, dim)
    return [np.full(shape, 7, FORMATS[kv_format]) for shape in shapes]


@pytest.mark.parametrize("ops", BACKENDS)
@pytest.mark.parametrize("kv_format", FORMATS)
@pytest.mark.parametrize("tokens, heads, dim", [(1, 1, 1), (17, 3, 64), (40, 2, 33), (0, 1, 8)])
def test_writes_its_slots_and_nothing_else(ops, kv_format, tokens, heads, dim, rng):
    dim = -(-dim // 32) * 32 if kv_format == "int4" else dim
    k, v = rng.standard_normal((2, tokens, heads, dim)).astype(np.float32)
    slots = rng.permutation(BLOCKS * BLOCK_SIZE)[:tokens].astype(np.int32)
    slots[1::5] = -1
    got, wanted = caches(heads, dim, kv_format), caches(heads, dim, kv_format)
    ops.kv_store(strided(k), strided(v), got[0], got[1], slots)
    reference(k, v, wanted[0], wanted[1], slots)
    for array, expected in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(array.view(np.uint8), expected.view(np.uint8))


@pytest.mark.parametrize("ops", BACKENDS)
@pytest.mark.parametrize("kv_format", FORMATS)
def test_runs_of_slots_are_read_back_as_they_were_written(ops, kv_format, rng):
    """Runs that end with a block, with a gap, and with the call."""
    slots = np.array([2, 3, 4, 5, 6, 7, 8, 30, 31, 20, 21, 22, 23], np.int32)
    k, v = rng.standard_normal((2, len(slots), 3, 96)).astype(np.float32)
    k_cache, v_cache = caches(3, 96, kv_format)
    ops.kv_store(k, v, k_cache, v_cache, slots)
    tolerance = {"f32": 0, "f16": 1e-3, "bf16": 4e-3, "int8": 0.02, "fp8": 0.0625, "int4": 0.6}
    tolerance = tolerance[kv_format]
    for cache, read, wanted in ((k_cache, read_keys, k), (v_cache, read_values, v)):
        got = read(np, cache, 96, np.float32)[slots // BLOCK_SIZE, :, slots % BLOCK_SIZE]
        np.testing.assert_allclose(got, wanted, atol=tolerance, rtol=tolerance)


def one_token(ops, row, kv_format):
    """What a cache of one block of one token holds after `row` was stored: (codes or numbers, scales)."""
    row = np.asarray(row, np.float32).reshape(1, 1, -1)
    dim = row.shape[2]
    k_cache, v_cache = (
        np.zeros(shape, FORMATS[kv_format]) for shape in cache_shapes(kv_format, 1, 1, 1, dim)
    )
    ops.kv_store(row, row, k_cache, v_cache, np.zeros(1, np.int32))
    np.testing.assert_array_equal(k_cache.reshape(-1).view(np.uint8), v_cache.reshape(-1).view(np.uint8))
    if kv_format in SCALED:
        codes, scales = split_codes(np, v_cache, dim)
        return codes.reshape(-1), scales.reshape(-1)
    return v_cache.reshape(-1), None


def every_number_and_what_lies_between(dtype):
    """All finite numbers of a format, the middles of neighbours, and what is beside those, as float32."""
    bits = np.arange(2 ** (8 * dtype.itemsize)).astype(f"uint{8 * dtype.itemsize}")
    numbers = bits.view(dtype).astype(np.float32)
    numbers = np.sort(numbers[np.isfinite(numbers)])
    middles = ((numbers[:-1].astype(np.float64) + numbers[1:]) / 2).astype(np.float32)
    beside = [np.nextafter(middles, np.float32(limit)) for limit in (-np.inf, np.inf)]
    return np.concatenate([numbers, middles, *beside])


@pytest.mark.parametrize("ops", BACKENDS)
@pytest.mark.parametrize("kv_format, largest", [("f16", 65504.0), ("bf16", 3.3895313892515355e38)])
def test_rounds_to_16_bits_as_numpy_does_and_saturates(ops, kv_format, largest, rng):
    noisy = (rng.standard_normal(20_000) * 10.0 ** rng.integers(-10, 6, 20_000)).astype(np.float32)
    special = np.array([np.inf, -np.inf, 65519.0, 65520.0, -65536.0, 3.4e38, -0.0, 1e-40], np.float32)
    values = np.concatenate([every_number_and_what_lies_between(FORMATS[kv_format]), noisy, special])
    got, _ = one_token(ops, values, kv_format)
    wanted = np.clip(values, np.float32(-largest), np.float32(largest)).astype(FORMATS[kv_format])
    assert np.isfinite(got.astype(np.float32)).all()
    np.testing.assert_array_equal(got.view(np.uint16), wanted.view(np.uint16))


@pytest.mark.parametrize("ops", BACKENDS)
def test_rounds_to_fp8_as_ml_dtypes_does(ops):
    values = every_number_and_what_lies_between(FORMATS["fp8"])
    got, scale = one_token(ops, values, "fp8")
    assert scale[0] == 1.0  # the largest is 448
    np.testing.assert_array_equal(got.view(np.uint8), values.astype(FORMATS["fp8"]).view(np.uint8))


@pytest.mark.parametrize("ops", BACKENDS)
@pytest.mark.parametrize("kv_format", ["f32", "f16", "bf16"])
def test_keeps_a_nan_and_its_neighbours(ops, kv_format):
    row = np.arange(13, dtype=np.float32)
    row[[2, 11]] = np.nan
    got = one_token(ops, row, kv_format)[0]
    np.testing.assert_array_equal(got.astype(np.float32), row)


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
    "kv_format, row, codes, scale",
    [
        ("int8", [0.0, -0.0, 0.0], [0, 0, 0], 0.0),
        ("int8", [np.nan, 5.0, -1.0], [0, 0, 0], np.nan),
        ("int8", [np.inf, 65504.0, -1e38], [127, 127, -127], 65504 / 127),
        ("int8", [0.5, 1.5, 2.5, 127.0], [0, 2, 2, 127], 1.0),
        ("fp8", [0.0, -0.0, 0.0], [0, 0, 0], 0.0),
        ("fp8", [5.0, np.nan, -1.0], [0, 0, 0], np.nan),
        ("fp8", [np.inf, 65504.0, -1e38], [448, 448, -448], 65504 / 448),
        ("fp8", [1e-30, -2e-30, 0.0], [224, -448, 0], 2e-30 / 448),
    ],
)
def test_8_bits_of_special_rows(ops, kv_format, row, codes, scale):
    got_codes, got_scale = one_token(ops, row, kv_format)
    np.testing.assert_array_equal(got_codes.astype(np.float32), codes)
    np.testing.assert_allclose(got_scale.reshape(-1), [scale], rtol=1e-6)


def hadamard_matrix(size):
    matrix = np.ones((1, 1))
    while len(matrix) < size:
        matrix = np.kron([[1, 1], [1, -1]], matrix)
    return matrix / np.sqrt(size)


@pytest.mark.parametrize("ops", BACKENDS)
@pytest.mark.parametrize("dim, rotated", [(32, 32), (64, 64), (96, 32), (128, 128)])
def test_int4_codes_are_near_what_the_rotation_makes_of_a_row(ops, dim, rotated, rng):
    for size in (1e-2, 1.0, 1e3):
        row = (rng.standard_normal(dim) * size).astype(np.float32)
        codes, scales = one_token(ops, row, "int4")
        pairs = codes.reshape(-1, 16).astype(int)
        numbers = np.concatenate([pairs & 15, pairs >> 4], 1) - 8
        wanted = (row.reshape(-1, rotated) @ hadamard_matrix(rotated)).reshape(-1, 32)
        steps = wanted / scales.reshape(-1, 1)
        assert (numbers.min(1) == -8).all()
        inside = steps < 7.5
        assert (np.abs(numbers - steps)[inside] <= 0.51).all()
        assert (numbers[~inside] == 7).all() and (steps < 8.02).all()


@pytest.mark.parametrize("ops", BACKENDS)
def test_int4_of_special_rows(ops):
    row = np.ones(64, np.float32)
    codes, scales = one_token(ops, 0 * row, "int4")
    assert (codes == 0x88).all() and (scales == 0).all()
    row[3] = np.nan
    codes, scales = one_token(ops, row, "int4")
    assert (codes == 0x88).all() and np.isnan(scales).all()
    row[:] = np.inf  # all of it in one dimension of the rotated row
    codes, scales = one_token(ops, row, "int4")
    assert codes[0] == 0x80 and (codes[1:16] == 0x88).all() and (codes[16:] == 0x88).all()
    np.testing.assert_array_equal(scales.reshape(-1), [-65504.0, 0.0])


@pytest.mark.parametrize("ops", BACKENDS)
def test_refuses_a_slot_beyond_the_cache(ops):
    k = np.ones((1, 1, 32), np.float32)
    for kv_format in FORMATS:
        with pytest.raises(KernelError, match="slot 40 is beyond"):
            ops.kv_store(k, k, *caches(1, 32, kv_format), np.array([40], np.int32))


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
        (k, k, *caches(1, 32, "int4"), slots),
        (k, k, k_cache[0], v_cache[0], slots),
        (k, k, k_cache.astype(np.float64), v_cache.astype(np.float64), slots),
    ):
        with pytest.raises(KernelError, match="do not fit"):
            ops.kv_store(*wrong)
