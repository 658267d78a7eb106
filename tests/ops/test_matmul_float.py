import ml_dtypes
import numpy as np
import pytest

from redline import _kernels
from redline.errors import KernelError
from redline.ops.dequantise import float_matrix
from redline.ops.matmul_float.reference import matmul_float as reference
from redline.quant.float import FloatWeight
from tests.ops.backends import BACKENDS, KERNELS, OnISA

DTYPES = {"f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16}
ROWS = (1, 2, 3, 4, 5, 6, 7, 8, 13, 63, 64)
SHAPES = [(1, 32), (7, 1), (8, 96), (9, 33), (33, 576), (16, 7), (65, 100), (40, 1536)]
# Tiles take activations of 16 bits, and leave out the product of what two factors lack in their first 8.
SPLIT = 2.0**-14


def on_tiles(ops, name):
    return isinstance(ops, OnISA) and ops.isa == "amx" and name != "f32"


def random_weight(rng, name, num_outputs, num_inputs):
    return FloatWeight.pack(rng.standard_normal((num_outputs, num_inputs)).astype(DTYPES[name]))


@pytest.mark.parametrize("ops", BACKENDS)
@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("num_outputs, num_inputs", SHAPES)
def test_equals_float64(ops, name, num_outputs, num_inputs, rng):
    weight = random_weight(rng, name, num_outputs, num_inputs)
    matrix = float_matrix(weight.packed, np.float64)
    for rows in ROWS:
        x = rng.standard_normal((rows, num_inputs)).astype(np.float32)
        got, expected = weight.matmul(ops, x), reference(x.astype(np.float64), weight.packed)
        assert got.dtype == np.float32
        bound = 1e-6 * np.sqrt(num_inputs) + (SPLIT if on_tiles(ops, name) else 0)
        assert np.all(np.abs(got - expected) <= bound * (np.abs(x) @ np.abs(matrix).T))


@pytest.mark.parametrize("ops", BACKENDS)
@pytest.mark.parametrize("name", DTYPES)
def test_embedding_returns_the_rows(ops, name, rng):
    array = rng.standard_normal((37, 50)).astype(DTYPES[name])
    ids = rng.integers(0, 37, 100).astype(np.int32)
    got = FloatWeight.pack(array).embedding(ops, ids)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, array[ids].astype(np.float32))


@pytest.mark.parametrize("ops", KERNELS)
def test_embedding_keeps_every_half_exactly(ops):
    halves = np.arange(65536, dtype=np.uint16).view(np.float16).reshape(64, 1024)
    got = FloatWeight.pack(halves).embedding(ops, np.arange(64, dtype=np.int32))
    np.testing.assert_array_equal(got, halves.astype(np.float32))


@pytest.mark.parametrize("ops", KERNELS)
@pytest.mark.parametrize("name", DTYPES)
def test_row_of_a_batch_equals_the_row_alone(ops, name, rng):
    weight = random_weight(rng, name, 41, 611)
    x = rng.standard_normal((64, 611)).astype(np.float32)
    batch = weight.matmul(ops, x)
    for row in range(64):
        np.testing.assert_array_equal(batch[row], weight.matmul(ops, x[row : row + 1])[0])


@pytest.mark.parametrize("ops", KERNELS)
@pytest.mark.parametrize("name", DTYPES)
def test_threads_do_not_change_a_bit(ops, name, rng):
    weight = random_weight(rng, name, 200, 300)
    x = rng.standard_normal((70, 300)).astype(np.float32)
    before, results = _kernels.num_threads(), []
    try:
        for threads in (1, 2, 3):
            _kernels.set_num_threads(threads)
            results.append(np.concatenate([weight.matmul(ops, part) for part in (x, x[:1], x[:7])]))
    finally:
        _kernels.set_num_threads(before)
    np.testing.assert_array_equal(results[1], results[0])
    np.testing.assert_array_equal(results[2], results[0])


@pytest.mark.parametrize("ops", KERNELS)
@pytest.mark.parametrize("name", ["f16", "bf16"])
def test_every_finite_weight_is_multiplied_exactly(ops, name):
    patterns = np.arange(65536, dtype=np.uint16).view(DTYPES[name]).reshape(1024, 64)
    array = patterns.astype(np.float32)
    array[~np.isfinite(array) | (np.abs(array) < np.finfo(np.float32).tiny)] = 0.0
    got = FloatWeight.pack(array.astype(DTYPES[name])).matmul(ops, np.eye(64, dtype=np.float32))
    np.testing.assert_array_equal(got, array.T)


@pytest.mark.parametrize("ops", KERNELS)
@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("rows", [1, 16, 17, 31, 32, 33, 48, 65, 517])
def test_rows_at_every_edge_of_a_tile_equal_themselves_alone(ops, name, rows, rng):
    weight = random_weight(rng, name, 48, 70)
    x = rng.standard_normal((rows, 70)).astype(np.float32)
    together = weight.matmul(ops, x)
    for row in {0, rows // 2, rows - 1}:
        np.testing.assert_array_equal(together[row], weight.matmul(ops, x[row : row + 1])[0])


@pytest.mark.parametrize("ops", KERNELS[2:])
@pytest.mark.parametrize("name", DTYPES)
def test_avx512_equals_avx2_bit_for_bit(ops, name, rng):
    if on_tiles(ops, name):
        pytest.skip("tiles sum in another order")
    for num_outputs, num_inputs in SHAPES:
        weight = random_weight(rng, name, num_outputs, num_inputs)
        x = rng.standard_normal((21, num_inputs)).astype(np.float32)
        np.testing.assert_array_equal(weight.matmul(ops, x), weight.matmul(KERNELS[1].values[0], x))


@pytest.mark.parametrize("ops", KERNELS)
def test_reads_a_strided_view(ops, rng):
    weight = random_weight(rng, "f32", 20, 64)
    view = rng.standard_normal((6, 200)).astype(np.float32)[:, 8:72]
    np.testing.assert_array_equal(weight.matmul(ops, view), weight.matmul(ops, view.copy()))


@pytest.mark.parametrize("ops", KERNELS)
@pytest.mark.parametrize("name", DTYPES)
def test_nan_and_infinity_stay_in_their_row(ops, name, rng):
    weight = random_weight(rng, name, 33, 96)
    x = rng.standard_normal((9, 96)).astype(np.float32)
    good = weight.matmul(ops, x)
    x[4, 37], x[5, 1] = np.nan, np.inf
    got = weight.matmul(ops, x)
    assert np.isnan(got[4]).all() and np.isinf(got[5]).all()
    np.testing.assert_array_equal(np.delete(got, [4, 5], 0), np.delete(good, [4, 5], 0))


@pytest.mark.parametrize("ops", KERNELS)
@pytest.mark.parametrize("name", DTYPES)
def test_numbers_beyond_the_largest_bfloat16_do_not_overflow(ops, name, rng):
    weight = FloatWeight.pack(np.full((20, 40), 0.25, DTYPES[name]))
    x = rng.standard_normal((35, 40)).astype(np.float32)
    good = weight.matmul(ops, x)
    x[[3, 33], 39] = np.finfo(np.float32).max, -np.finfo(np.float32).max
    got = weight.matmul(ops, x)
    np.testing.assert_allclose(got[3], np.finfo(np.float32).max / 4, rtol=1e-6)
    np.testing.assert_allclose(got[33], -np.finfo(np.float32).max / 4, rtol=1e-6)
    np.testing.assert_array_equal(np.delete(got, [3, 33], 0), np.delete(good, [3, 33], 0))
    np.testing.assert_array_equal(weight.matmul(ops, x[33:34])[0], got[33])


@pytest.mark.parametrize("ops", KERNELS)
def test_no_rows_and_wrong_arrays(ops, rng):
    weight = random_weight(rng, "bf16", 20, 64)
    assert weight.matmul(ops, np.zeros((0, 64), np.float32)).shape == (0, 20)
    for x in (np.zeros((2, 32), np.float32), np.zeros((2, 64)), np.zeros((2, 128), np.float32)[:, ::2]):
        with pytest.raises(KernelError, match=r"x \[rows, 64\]"):
            weight.matmul(ops, x)
    with pytest.raises(KernelError, match=r"outside 0\.\.19"):
        weight.embedding(ops, np.array([20], np.int32))
