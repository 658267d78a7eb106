import numpy as np
import pytest

from redline.layers.linear import Linear, StackedWeight
from redline.layers.norm import RMSNorm
from redline.ops.registry import backend
from redline.quant.float import FloatWeight

BACKENDS = ["cpu", "reference"]


@pytest.mark.parametrize("ops", BACKENDS)
def test_bias_is_added_to_every_row(ops, rng):
    weight, x = rng.standard_normal((5, 7)).astype(np.float32), rng.standard_normal((3, 7)).astype(np.float32)
    bias = rng.standard_normal(5).astype(np.float32)
    got = Linear(FloatWeight.pack(weight), bias)(backend(ops), x)
    np.testing.assert_allclose(got, x @ weight.T + bias, atol=1e-5)
    np.testing.assert_allclose(Linear(FloatWeight.pack(weight))(backend(ops), x), x @ weight.T, atol=1e-5)


@pytest.mark.parametrize("ops", BACKENDS)
def test_stacked_formats_lie_side_by_side(ops, rng):
    first, second = (
        rng.standard_normal((5, 7)).astype(np.float32),
        rng.standard_normal((3, 7)).astype(np.float16),
    )
    parts = [FloatWeight.pack(first), FloatWeight.pack(second)]
    stacked = StackedWeight(parts)
    assert (stacked.num_outputs, stacked.num_inputs) == (8, 7)
    assert stacked.nbytes == sum(part.nbytes for part in parts)
    x = rng.standard_normal((4, 7)).astype(np.float32)
    got = stacked.matmul(backend(ops), x)
    np.testing.assert_allclose(got, x @ np.concatenate([first, second.astype(np.float32)]).T, atol=1e-5)


@pytest.mark.parametrize("ops", BACKENDS)
def test_norm_after_add_returns_the_sum_as_well(ops, rng):
    x, residual = rng.standard_normal((2, 3, 8)).astype(np.float32)
    norm = RMSNorm(rng.standard_normal(8).astype(np.float32), 1e-5)
    y, total = norm.after_add(backend(ops), x, residual)
    np.testing.assert_allclose(total, x + residual, atol=1e-6)
    np.testing.assert_allclose(y, norm(backend(ops), x + residual), atol=1e-5)
    y, total = norm.after_add(backend(ops), x, None)
    np.testing.assert_array_equal(total, x)
    np.testing.assert_array_equal(y, norm(backend(ops), x))
