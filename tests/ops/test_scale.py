import numpy as np
import pytest

from tests.ops.backends import BACKENDS
from tests.ops.properties import strided


@pytest.mark.parametrize("ops", BACKENDS)
@pytest.mark.parametrize("shape", [(1, 8), (3, 129), (0, 16), (5, 1)])
def test_every_value_is_multiplied(ops, shape, rng):
    x = rng.standard_normal(shape).astype(np.float32)
    np.testing.assert_array_equal(ops.scale(x, 24.5), x * np.float32(24.5))
    np.testing.assert_array_equal(ops.scale(strided(x), 24.5), x * np.float32(24.5))
