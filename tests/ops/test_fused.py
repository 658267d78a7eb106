"""What a matmul does besides multiplying has the bits of the separate ops."""

import numpy as np
import pytest

from redline.errors import KernelError
from redline.ops.gated_activation.reference import gelu_mul, silu_mul
from redline.ops.registry import backend
from tests.ops import test_matmul_float, test_matmul_int
from tests.ops.backends import KERNELS

FORMATS = ("f32", "f16", "bf16", "int8", "int4-mins", "int4-x16")
ROWS = (1, 2, 5, 37, 600)


def random_weight(rng, name, num_outputs, num_inputs):
    module = test_matmul_int if name in test_matmul_int.FORMATS else test_matmul_float
    return module.random_weight(rng, name, num_outputs, num_inputs)


def _operands(rng, rows, num_inputs, num_outputs):
    x = rng.standard_normal((rows, num_inputs)).astype(np.float32)
    norm_weight = rng.standard_normal(num_inputs).astype(np.float32)
    bias = rng.standard_normal(num_outputs).astype(np.float32)
    addend = rng.standard_normal((rows, 2 * num_outputs)).astype(np.float32)[:, :num_outputs]
    return x, (norm_weight, 1e-5), bias, addend


@pytest.mark.parametrize("ops", KERNELS)
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("num_outputs", [32, 50])
def test_norm_bias_and_sum_equal_the_separate_ops(ops, name, num_outputs, rng):
    weight = random_weight(rng, name, num_outputs, 96)
    for rows in ROWS[:4]:
        x, norm, bias, addend = _operands(rng, rows, 96, num_outputs)
        separate = weight.matmul(ops, ops.rmsnorm(x, *norm)) + bias
        fused = weight.matmul(ops, x, norm=norm, bias=bias, addend=addend)
        np.testing.assert_array_equal(fused, ops.add(separate, addend))


@pytest.mark.parametrize("ops", KERNELS)
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("gate", ["silu", "gelu_tanh", "gelu"])
@pytest.mark.parametrize("num_outputs", [64, 50, 96])
def test_a_gate_equals_the_separate_op(ops, name, gate, num_outputs, rng):
    weight = random_weight(rng, name, num_outputs, 64)
    for rows in ROWS:
        x, norm, bias, _ = _operands(rng, rows, 64, num_outputs)
        both = weight.matmul(ops, ops.rmsnorm(x, *norm), bias=bias)
        separate = ops.silu_mul(both) if gate == "silu" else ops.gelu_mul(both, gate == "gelu_tanh")
        np.testing.assert_array_equal(weight.matmul(ops, x, norm=norm, bias=bias, gate=gate), separate)


@pytest.mark.parametrize("name", FORMATS)
def test_the_reference_means_the_same(name, rng):
    weight = random_weight(rng, name, 64, 96)
    x, norm, bias, addend = _operands(rng, 9, 96, 64)
    for fused in ({"norm": norm, "bias": bias, "addend": addend}, {"norm": norm, "gate": "gelu"}):
        expected = weight.matmul(backend("reference"), x, **fused)
        got = weight.matmul(backend("cpu"), x, **fused)
        np.testing.assert_allclose(got, expected, rtol=0.02, atol=0.02 * np.abs(expected).max())


def test_the_reference_gates_by_the_right_half(rng):
    weight = random_weight(rng, "f32", 6, 4)
    x = rng.standard_normal((3, 4)).astype(np.float32)
    both = weight.matmul(backend("reference"), x)
    np.testing.assert_array_equal(weight.matmul(backend("reference"), x, gate="silu"), silu_mul(both))
    np.testing.assert_array_equal(weight.matmul(backend("reference"), x, gate="gelu"), gelu_mul(both, False))


@pytest.mark.parametrize("ops", KERNELS)
@pytest.mark.parametrize("name", FORMATS)
def test_results_may_go_into_a_view(ops, name, rng):
    weight = random_weight(rng, name, 40, 64)
    x = rng.standard_normal((7, 64)).astype(np.float32)
    whole = np.full((7, 100), 7.0, np.float32)
    got = weight.matmul(ops, x, out=whole[:, 30:70])
    assert np.shares_memory(got, whole)
    np.testing.assert_array_equal(whole[:, 30:70], weight.matmul(ops, x))
    assert (whole[:, :30] == 7.0).all() and (whole[:, 70:] == 7.0).all()


@pytest.mark.parametrize("ops", KERNELS)
def test_misfits_are_refused(ops, rng):
    weight = random_weight(rng, "int4", 33, 64)
    x, norm, bias, addend = _operands(rng, 4, 64, 33)
    for fused in (
        {"norm": (norm[0][:-1], 1e-5)},
        {"bias": bias[:-1]},
        {"bias": bias.astype(np.float64)},
        {"addend": addend[:-1]},
        {"gate": "silu"},
        {"out": np.empty((4, 32), np.float32)},
        {"out": np.empty((33, 4), np.float32).T},
    ):
        with pytest.raises(KernelError, match="matmul with 33 outputs"):
            weight.matmul(ops, x, **fused)
