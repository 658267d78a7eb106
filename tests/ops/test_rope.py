import numpy as np
import pytest

from redline.errors import KernelError
from redline.ops.rope.reference import rope as reference
from tests.ops.backends import BACKENDS, KERNELS
from tests.ops.properties import assert_row_of_a_batch_equals_the_row_alone, strided


def tables(positions, half):
    angles = np.arange(positions)[:, None] * 10000.0 ** (-np.arange(half) / half)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


@pytest.mark.parametrize("ops", BACKENDS)
@pytest.mark.parametrize("interleaved", [True, False])
@pytest.mark.parametrize(
    "tokens, heads, dim, half", [(1, 1, 2, 1), (7, 3, 64, 32), (40, 9, 33, 13), (3, 2, 40, 0)]
)
def test_equals_float64(ops, interleaved, tokens, heads, dim, half, rng):
    x = rng.standard_normal((tokens, heads, dim)).astype(np.float32)
    cos, sin = tables(50, half)
    positions = rng.integers(0, 50, tokens).astype(np.int32)
    got = ops.rope(x, cos, sin, positions, interleaved)
    np.testing.assert_allclose(
        got, reference(x.astype(np.float64), cos, sin, positions, interleaved), atol=1e-6
    )
    np.testing.assert_array_equal(got[..., 2 * half :], x[..., 2 * half :])
    np.testing.assert_array_equal(ops.rope(strided(x), cos, sin, positions, interleaved), got)


@pytest.mark.parametrize("ops", BACKENDS)
def test_pairs_are_neighbours_or_halves(ops):
    cos, sin = np.zeros((1, 2), np.float32), np.ones((1, 2), np.float32)  # a quarter turn
    x, first = np.array([[[1.0, 2.0, 3.0, 4.0]]], np.float32), np.zeros(1, np.int32)
    np.testing.assert_array_equal(ops.rope(x, cos, sin, first, True), [[[-2, 1, -4, 3]]])
    np.testing.assert_array_equal(ops.rope(x, cos, sin, first, False), [[[-3, -4, 1, 2]]])


@pytest.mark.parametrize("ops", KERNELS)
@pytest.mark.parametrize("interleaved", [True, False])
def test_row_of_a_batch_equals_the_row_alone(ops, interleaved, rng):
    x, (cos, sin) = rng.standard_normal((64, 3, 22)).astype(np.float32), tables(64, 11)
    positions = rng.permutation(64).astype(np.int32)
    assert_row_of_a_batch_equals_the_row_alone(
        lambda x, positions: ops.rope(x, cos, sin, positions, interleaved), x, positions
    )


@pytest.mark.parametrize("ops", BACKENDS)
@pytest.mark.parametrize("position", [-1, 8, 2**31 - 1])
def test_refuses_a_position_outside_the_tables(ops, position):
    x, (cos, sin) = np.ones((1, 1, 4), np.float32), tables(8, 2)
    with pytest.raises(KernelError, match="outside the table of 8"):
        ops.rope(x, cos, sin, np.array([position], np.int32), True)


@pytest.mark.parametrize("ops", KERNELS)
def test_refuses_shapes_that_disagree(ops):
    x, (cos, sin) = np.ones((2, 1, 4), np.float32), tables(8, 3)
    with pytest.raises(KernelError, match="at most D"):
        ops.rope(x, cos, sin, np.zeros(2, np.int32), True)
    with pytest.raises(KernelError, match="positions"):
        ops.rope(x, cos[:, :2].copy(), sin[:, :2].copy(), np.zeros(1, np.int32), True)
