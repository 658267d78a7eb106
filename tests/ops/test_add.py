import numpy as np
import pytest

from redline.errors import KernelError
from tests.ops.backends import BACKENDS, KERNELS
from tests.ops.properties import strided


@pytest.mark.parametrize("ops", BACKENDS)
@pytest.mark.parametrize("shape", [(1, 8), (3, 129), (64, 4096), (5, 1), (2, 9001), (0, 4)])
def test_equals_numpy(ops, shape, rng):
    x, y = rng.standard_normal((2, *shape)).astype(np.float32)
    np.testing.assert_array_equal(ops.add(x, y), x + y)
    np.testing.assert_array_equal(ops.add(strided(x), strided(y)), x + y)


@pytest.mark.parametrize("ops", KERNELS)
def test_refuses_shapes_that_disagree(ops):
    with pytest.raises(KernelError, match="equal"):
        ops.add(np.ones((2, 8), np.float32), np.ones((2, 7), np.float32))
