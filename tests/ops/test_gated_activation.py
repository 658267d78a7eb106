from functools import partial

import numpy as np
import pytest

from redline.errors import KernelError
from redline.ops.gated_activation import reference
from tests.ops.backends import BACKENDS, KERNELS
from tests.ops.properties import assert_row_of_a_batch_equals_the_row_alone, strided

ACTIVATIONS = [
    pytest.param("silu_mul", {}, id="silu"),
    pytest.param("gelu_mul", {"tanh": True}, id="gelu-tanh"),
    pytest.param("gelu_mul", {"tanh": False}, id="gelu-erf"),
]


@pytest.mark.parametrize("ops", BACKENDS)
@pytest.mark.parametrize("name, options", ACTIVATIONS)
@pytest.mark.parametrize("shape", [(1, 16), (3, 258), (64, 3072), (5, 2), (0, 4)])
def test_equals_float64(ops, name, options, shape, rng):
    x = (rng.standard_normal(shape) * 4).astype(np.float32)
    function = partial(getattr(ops, name), **options)
    wanted = getattr(reference, name)(x.astype(np.float64), **options)
    np.testing.assert_allclose(function(x), wanted, rtol=2e-6, atol=1e-5)
    np.testing.assert_array_equal(function(strided(x)), function(x))


@pytest.mark.parametrize("ops", BACKENDS)
@pytest.mark.parametrize(
    "kind, name, options",
    [
        ("silu", "silu_mul", {}),
        ("gelu_tanh", "gelu_mul", {"tanh": True}),
        ("gelu", "gelu_mul", {"tanh": False}),
    ],
)
def test_gates_and_what_they_gate_may_be_two_matrices(ops, kind, name, options, rng):
    gate, up = rng.standard_normal((2, 3, 129)).astype(np.float32)
    wanted = getattr(ops, name)(np.concatenate([gate, up], 1), **options)
    np.testing.assert_array_equal(ops.gate_mul(strided(gate), strided(up), kind), wanted)


@pytest.mark.parametrize("ops", KERNELS)
@pytest.mark.parametrize("shape, kind", [((2, 7), "silu"), ((2, 8), "relu")])
def test_refuses_matrices_that_disagree(ops, shape, kind):
    with pytest.raises(KernelError, match="the kind one of silu, gelu_tanh, gelu"):
        ops.gate_mul(np.ones((2, 8), np.float32), np.ones(shape, np.float32), kind)


@pytest.mark.parametrize("ops", KERNELS)
@pytest.mark.parametrize("name, options", ACTIVATIONS)
def test_ends_of_the_range(ops, name, options):
    gate = np.array([200.0, -200.0, 0.0, np.nan, np.inf], np.float32)
    x = np.concatenate([gate, np.ones(5, np.float32)])[None]
    np.testing.assert_array_equal(getattr(ops, name)(x, **options), [[200.0, 0.0, 0.0, np.nan, np.inf]])


@pytest.mark.parametrize("ops", KERNELS)
@pytest.mark.parametrize("name, options", ACTIVATIONS)
def test_row_of_a_batch_equals_the_row_alone(ops, name, options, rng):
    x = rng.standard_normal((64, 262)).astype(np.float32)
    assert_row_of_a_batch_equals_the_row_alone(partial(getattr(ops, name), **options), x)


@pytest.mark.parametrize("ops", KERNELS)
def test_silu_is_accurate_over_the_whole_range(ops):
    gate = np.linspace(-86, 88, 100_001).astype(np.float32)
    got = ops.silu_mul(np.concatenate([gate, np.ones_like(gate)])[None])[0]
    wanted = gate / (1 + np.exp(-gate.astype(np.float64)))
    np.testing.assert_allclose(got, wanted, rtol=4e-7)


@pytest.mark.parametrize("ops", KERNELS)
def test_refuses_an_odd_row(ops):
    with pytest.raises(KernelError, match="pairs"):
        ops.silu_mul(np.ones((1, 7), np.float32))
