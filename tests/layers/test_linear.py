import numpy as np
import pytest

from redline.layers.linear import Linear, StackedWeight
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
    np.testing.assert_allclose(got, x @ np.concatenate([first, second.astype(np.float32)]).T, atol=1e-4)


@pytest.mark.parametrize("ops", BACKENDS)
@pytest.mark.parametrize("gate", [None, "silu", "gelu"])
def test_stacked_formats_take_what_one_matrix_takes(ops, gate, rng):
    """Two formats of which neither ends where the gates end; one matrix of the same values is the oracle."""
    matrix = rng.standard_normal((8, 7)).astype(np.float16).astype(np.float32)
    stacked = StackedWeight([FloatWeight.pack(matrix[:5]), FloatWeight.pack(matrix[5:].astype(np.float16))])
    x, bias = rng.standard_normal((4, 7)).astype(np.float32), rng.standard_normal(8).astype(np.float32)
    fused = {"norm": (rng.standard_normal(7).astype(np.float32), 1e-5), "bias": bias, "gate": gate}
    if gate is None:
        fused["addend"] = rng.standard_normal((4, 8)).astype(np.float32)
        fused["out"] = np.zeros((4, 10), np.float32)[:, 1:9]
    got = stacked.matmul(backend(ops), x, **fused)
    expected = FloatWeight.pack(matrix).matmul(backend(ops), x, **fused | {"out": None})
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)  # half precision on tiles has 16 bits
    if gate is None:
        assert np.shares_memory(got, fused["out"])
