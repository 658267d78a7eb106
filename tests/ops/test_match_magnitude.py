import numpy as np
import pytest

from redline.errors import KernelError
from redline.ops.match_magnitude import reference
from tests.ops.backends import BACKENDS, KERNELS
from tests.ops.properties import assert_row_of_a_batch_equals_the_row_alone, strided


@pytest.mark.parametrize("ops", BACKENDS)
@pytest.mark.parametrize("shape", [(1, 8), (3, 129), (64, 2048), (5, 1), (0, 16)])
def test_equals_float64(ops, shape, rng):
    x, like = rng.standard_normal(shape).astype(np.float32), 9 * rng.standard_normal(shape).astype(np.float32)
    got = ops.match_magnitude(x, like, 1e-5)
    np.testing.assert_allclose(got, reference.match_magnitude(x.astype(float), like, 1e-5), rtol=2e-6)
    np.testing.assert_allclose(np.mean(got**2, -1), np.mean(like**2, -1), rtol=1e-5)
    np.testing.assert_array_equal(ops.match_magnitude(strided(x), strided(like), 1e-5), got)


@pytest.mark.parametrize("ops", BACKENDS)
def test_a_row_of_almost_nothing_stays_small(ops):
    x = np.array([np.zeros(9), np.full(9, 1e-4)], np.float32)
    got = ops.match_magnitude(x, np.ones((2, 9), np.float32), 0.01)
    np.testing.assert_allclose(got, 10 * x, rtol=1e-6)


@pytest.mark.parametrize("ops", KERNELS)
def test_row_of_a_batch_equals_the_row_alone(ops, rng):
    x, like = rng.standard_normal((2, 64, 261)).astype(np.float32)
    assert_row_of_a_batch_equals_the_row_alone(lambda a, b: ops.match_magnitude(a, b, 1e-5), x, like)


@pytest.mark.parametrize("ops", KERNELS)
@pytest.mark.parametrize("shape, least", [((2, 7), 1e-5), ((2, 8), 0.0)])
def test_refuses_what_does_not_fit(ops, shape, least):
    with pytest.raises(KernelError, match="least above 0"):
        ops.match_magnitude(np.ones((2, 8), np.float32), np.ones(shape, np.float32), least)
