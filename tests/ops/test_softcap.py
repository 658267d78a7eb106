import numpy as np
import pytest

from redline.errors import KernelError
from redline.ops.softcap.reference import softcap as reference
from tests.ops.backends import BACKENDS, KERNELS
from tests.ops.properties import assert_row_of_a_batch_equals_the_row_alone, strided


@pytest.mark.parametrize("ops", BACKENDS)
@pytest.mark.parametrize("shape", [(1, 8), (3, 129), (2, 49152), (5, 1)])
@pytest.mark.parametrize("spread", [1e-4, 0.5, 30.0, 1e4])
def test_equals_float64(ops, shape, spread, rng):
    x = (rng.standard_normal(shape) * spread).astype(np.float32)
    np.testing.assert_allclose(ops.softcap(x, 30.0), reference(x.astype(np.float64), 30.0), rtol=1e-6)
    np.testing.assert_array_equal(ops.softcap(strided(x), 30.0), ops.softcap(x, 30.0))


@pytest.mark.parametrize("ops", BACKENDS)
def test_ends_of_the_range(ops):
    x = np.array([[np.inf, -np.inf, np.nan, 0.0]], np.float32)
    np.testing.assert_array_equal(ops.softcap(x, 30.0), [[30.0, -30.0, np.nan, 0.0]])


@pytest.mark.parametrize("ops", KERNELS)
def test_row_of_a_batch_equals_the_row_alone(ops, rng):
    x = rng.standard_normal((64, 131)).astype(np.float32)
    assert_row_of_a_batch_equals_the_row_alone(lambda x: ops.softcap(x, 2.0), x)


@pytest.mark.parametrize("ops", KERNELS)
def test_refuses_a_cap_of_zero(ops):
    with pytest.raises(KernelError, match="above 0"):
        ops.softcap(np.ones((1, 8), np.float32), 0.0)
