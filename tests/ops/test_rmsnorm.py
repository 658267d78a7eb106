import numpy as np
import pytest

from redline.ops.rmsnorm.reference import rmsnorm as reference
from tests.ops.backends import BACKENDS


@pytest.mark.parametrize("ops", BACKENDS)
@pytest.mark.parametrize("rows, dim", [(1, 8), (3, 129), (64, 4096), (5, 1)])
def test_equals_float64(ops, rows, dim, rng):
    x, weight = rng.standard_normal((rows, dim)), rng.standard_normal(dim)
    got = ops.rmsnorm(x.astype(np.float32), weight.astype(np.float32), 1e-5)
    np.testing.assert_allclose(got, reference(x, weight, 1e-5), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("ops", BACKENDS)
def test_row_of_a_batch_equals_the_row_alone(ops, rng):
    x, weight = rng.standard_normal((64, 131)).astype(np.float32), np.ones(131, np.float32)
    batch = ops.rmsnorm(x, weight, 1e-5)
    for row in range(64):
        np.testing.assert_array_equal(batch[row], ops.rmsnorm(x[row : row + 1], weight, 1e-5)[0])


@pytest.mark.parametrize("ops", BACKENDS)
def test_reads_a_strided_view(ops, rng):
    wide, weight = rng.standard_normal((6, 40)).astype(np.float32), np.ones(16, np.float32)
    view = wide[:, 8:24]
    np.testing.assert_array_equal(ops.rmsnorm(view, weight, 1e-5), ops.rmsnorm(view.copy(), weight, 1e-5))
