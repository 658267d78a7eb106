import numpy as np
import pytest

from redline.errors import KernelError
from redline.ops.rmsnorm.reference import rmsnorm as reference
from tests.ops.backends import BACKENDS, KERNELS
from tests.ops.properties import assert_row_of_a_batch_equals_the_row_alone, strided


def normal(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("ops", BACKENDS)
@pytest.mark.parametrize("shape", [(1, 8), (3, 129), (64, 4096), (5, 1), (0, 16), (7, 3, 64), (2, 5, 33)])
def test_equals_float64(ops, shape, rng):
    x, weight = normal(rng, *shape), normal(rng, shape[-1])
    wanted = reference(x.astype(np.float64), weight, 1e-5)
    np.testing.assert_allclose(ops.rmsnorm(x, weight, 1e-5), wanted, rtol=2e-5, atol=1e-6)
    np.testing.assert_array_equal(ops.rmsnorm(strided(x), weight, 1e-5), ops.rmsnorm(x, weight, 1e-5))


@pytest.mark.parametrize("ops", BACKENDS)
def test_row_of_a_batch_equals_the_row_alone(ops, rng):
    x, weight = normal(rng, 64, 131), normal(rng, 131)
    assert_row_of_a_batch_equals_the_row_alone(lambda x: ops.rmsnorm(x, weight, 1e-5), x)


@pytest.mark.parametrize("ops", KERNELS)
def test_refuses_shapes_that_disagree(ops):
    with pytest.raises(KernelError, match="weight"):
        ops.rmsnorm(np.ones((2, 8), np.float32), np.ones(7, np.float32), 1e-5)
    with pytest.raises(TypeError):
        ops.rmsnorm(np.ones((2, 16), np.float32)[:, ::2], np.ones(8, np.float32), 1e-5)
