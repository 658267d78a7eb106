import numpy as np
import pytest

from redline.errors import KernelError
from redline.ops.mix import reference
from tests.ops.backends import BACKENDS, KERNELS
from tests.ops.properties import assert_row_of_a_batch_equals_the_row_alone, strided


def operands(rng, count, rows, dim):
    x = [rng.standard_normal((rows, dim)).astype(np.float32) for _ in range(count)]
    return x, *(rng.standard_normal((rows, n)).astype(np.float32) for n in (count, dim))


@pytest.mark.parametrize("ops", BACKENDS)
@pytest.mark.parametrize("count, rows, dim", [(1, 3, 8), (4, 5, 129), (16, 2, 9001), (2, 64, 1), (3, 0, 4)])
def test_equals_float64(ops, count, rows, dim, rng):
    x, weights, addend = operands(rng, count, rows, dim)
    wanted = reference.mix([each.astype(float) for each in x], weights.astype(float), addend.astype(float))
    np.testing.assert_allclose(ops.mix(x, weights, addend), wanted, rtol=1e-5, atol=1e-5)
    views = [strided(each) for each in x]
    np.testing.assert_array_equal(
        ops.mix(views, strided(weights), strided(addend)), ops.mix(x, weights, addend)
    )


@pytest.mark.parametrize("ops", KERNELS)
def test_row_of_a_batch_equals_the_row_alone(ops, rng):
    x, weights, addend = operands(rng, 3, 64, 261)
    assert_row_of_a_batch_equals_the_row_alone(
        lambda a, b, c, w, y: ops.mix([a, b, c], w, y), *x, weights, addend
    )


@pytest.mark.parametrize("ops", KERNELS)
@pytest.mark.parametrize("count, weights", [(2, (5, 3)), (2, (4, 2)), (0, (5, 0)), (17, (5, 17))])
def test_refuses_shapes_that_disagree(ops, count, weights, rng):
    x = [np.ones((5, 8), np.float32)] * count
    with pytest.raises(KernelError, match="1 to 16 of"):
        ops.mix(x, np.ones(weights, np.float32), np.ones((5, 8), np.float32))
