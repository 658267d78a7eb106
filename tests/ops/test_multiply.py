import numpy as np
import pytest

from redline.errors import KernelError
from tests.ops.backends import BACKENDS, KERNELS
from tests.ops.properties import strided


@pytest.mark.parametrize("ops", BACKENDS)
@pytest.mark.parametrize("shape", [(1, 8), (3, 129), (64, 4096), (5, 1), (2, 9001), (0, 4)])
def test_equals_numpy(ops, shape, rng):
    x, y = rng.standard_normal((2, *shape)).astype(np.float32)
    np.testing.assert_array_equal(ops.multiply(x, y), x * y)
    np.testing.assert_array_equal(ops.multiply(strided(x), strided(y)), x * y)


@pytest.mark.parametrize("ops", BACKENDS)
def test_one_row_multiplies_every_row(ops, rng):
    x, row = rng.standard_normal((5, 19)).astype(np.float32), rng.standard_normal(19).astype(np.float32)
    np.testing.assert_array_equal(ops.multiply(strided(x), row), x * row)


@pytest.mark.parametrize("ops", KERNELS)
@pytest.mark.parametrize("shape", [(2, 7), (7,), (2, 1), (1, 8)])
def test_refuses_shapes_that_disagree(ops, shape):
    with pytest.raises(KernelError, match="one row of it"):
        ops.multiply(np.ones((2, 8), np.float32), np.ones(shape, np.float32))
