from statistics import NormalDist

import numpy as np
import pytest

from redline.ops.gaussian_topk import reference
from tests.ops.backends import BACKENDS, KERNELS
from tests.ops.properties import assert_row_of_a_batch_equals_the_row_alone, strided


@pytest.mark.parametrize("ops", BACKENDS)
@pytest.mark.parametrize("deviations", [-0.5, 0.0, 1.6])
@pytest.mark.parametrize("shape", [(1, 16), (3, 129), (64, 1024), (5, 1), (0, 4)])
def test_equals_float64(ops, shape, deviations, rng):
    x = (3 * rng.standard_normal(shape) + 1).astype(np.float32)
    wanted = reference.gaussian_topk(x.astype(np.float64), deviations)
    np.testing.assert_allclose(ops.gaussian_topk(x, deviations), wanted, atol=1e-5)
    np.testing.assert_array_equal(ops.gaussian_topk(strided(x), deviations), ops.gaussian_topk(x, deviations))


@pytest.mark.parametrize("ops", BACKENDS)
def test_as_many_pass_as_a_normal_distribution_has_beyond_the_cutoff(ops, rng):
    x = rng.standard_normal((4, 20_000)).astype(np.float32)
    passed = np.mean(ops.gaussian_topk(x, NormalDist().inv_cdf(0.95)) > 0)
    assert passed == pytest.approx(0.05, abs=0.005)


@pytest.mark.parametrize("ops", KERNELS)
def test_row_of_a_batch_equals_the_row_alone(ops, rng):
    x = rng.standard_normal((64, 262)).astype(np.float32)
    assert_row_of_a_batch_equals_the_row_alone(lambda rows: ops.gaussian_topk(rows, 1.0), x)
