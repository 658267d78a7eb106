import numpy as np
import pytest

from redline.errors import KernelError
from redline.ops.layernorm.reference import layernorm as reference
from tests.ops.backends import BACKENDS, KERNELS
from tests.ops.properties import assert_row_of_a_batch_equals_the_row_alone, strided


@pytest.mark.parametrize("ops", BACKENDS)
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("rows, dim", [(1, 8), (3, 129), (64, 1024), (5, 1), (0, 4)])
def test_equals_float64(ops, rows, dim, with_bias, rng):
    x = (rng.standard_normal((rows, dim)) + 3).astype(np.float32)
    weight, bias = rng.standard_normal((2, dim)).astype(np.float32)
    bias = bias if with_bias else None
    got = ops.layernorm(x, weight, bias, 1e-5)
    np.testing.assert_allclose(got, reference(x.astype(np.float64), weight, bias, 1e-5), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(ops.layernorm(strided(x), weight, bias, 1e-5), got)


@pytest.mark.parametrize("ops", BACKENDS)
def test_row_of_a_batch_equals_the_row_alone(ops, rng):
    x, weight = rng.standard_normal((64, 131)).astype(np.float32), np.ones(131, np.float32)
    assert_row_of_a_batch_equals_the_row_alone(lambda x: ops.layernorm(x, weight, weight, 1e-5), x)


@pytest.mark.parametrize("ops", KERNELS)
def test_refuses_shapes_that_disagree(ops):
    x, weight = np.ones((2, 8), np.float32), np.ones(8, np.float32)
    for wrong in ((weight[:7], None), (weight, weight[:7])):
        with pytest.raises(KernelError, match="as many"):
            ops.layernorm(x, *wrong, 1e-5)
