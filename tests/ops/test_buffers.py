"""Memory as callers may bring it: at any address, not writable, of no rows; and any number of threads."""

import numpy as np
import pytest

from redline import _kernels
from redline.errors import ConfigError, KernelError
from redline.ops.threads import set_num_threads
from tests.ops.backends import KERNELS
from tests.ops.test_matmul_float import DTYPES
from tests.ops.test_matmul_float import random_weight as random_floats
from tests.ops.test_matmul_int import random_weight

FORMATS = ("int4-mins", "int4-x16", "int8", "Q3_K-x8", "Q4_K-x8", "Q6_K-x16", "IQ4_NL-x8")


def shifted(array, num_bytes=4):
    """The same values, off any alignment that a vector could want."""
    memory = np.empty(array.nbytes + num_bytes, np.uint8)[num_bytes:].view(array.dtype).reshape(array.shape)
    memory[...] = array
    assert memory.ctypes.data % 16
    return memory


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def weights(rng, num_inputs=512):
    for name in FORMATS:
        yield random_weight(rng, name, 40, num_inputs)
    for name in DTYPES:
        yield random_floats(rng, name, 40, num_inputs)


@pytest.mark.parametrize("ops", KERNELS)
@pytest.mark.parametrize("rows", [1, 3, 20])
@pytest.mark.parametrize("brought", [shifted, read_only])
def test_a_matmul_takes_any_memory(ops, rows, brought, rng):
    for weight in weights(rng):
        x, addend = rng.standard_normal((rows, 512)), rng.standard_normal((rows, 40))
        x, addend = x.astype(np.float32), addend.astype(np.float32)
        norm = rng.standard_normal(512).astype(np.float32)
        expected = weight.matmul(ops, x, norm=(norm, 1e-5), addend=addend)
        got = weight.matmul(ops, brought(x), norm=(brought(norm), 1e-5), addend=brought(addend))
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("ops", KERNELS)
def test_memory_that_is_not_aligned_to_floats_is_refused(ops, rng):
    x, weight = rng.standard_normal((2, 512)).astype(np.float32), random_weight(rng, "int8", 40, 512)
    with pytest.raises(KernelError, match="x is float32 .*, not aligned.*must be aligned"):
        weight.matmul(ops, shifted(x, 1))
    with pytest.raises(TypeError, match="aligned"):
        ops.rmsnorm(shifted(x, 1), np.ones(512, np.float32), 1e-5)


@pytest.mark.parametrize("ops", KERNELS)
def test_a_result_is_not_written_where_nothing_may_be_written(ops, rng):
    x, out = rng.standard_normal((2, 512)).astype(np.float32), read_only(np.zeros((2, 40), np.float32))
    for weight in weights(rng):
        with pytest.raises(KernelError, match=r"out is float32 \(2, 40\)"):
            weight.matmul(ops, x, out=out)
    assert not out.any()


@pytest.mark.parametrize("ops", KERNELS)
@pytest.mark.parametrize("num_inputs", [1, 31, 33, 65, 100, 577])
def test_inputs_need_not_fill_a_group_or_a_tile(ops, num_inputs, rng):
    for name in ("int4-mins", "int8"):
        weight = random_weight(rng, name, 17, num_inputs)
        x = rng.standard_normal((20, num_inputs)).astype(np.float32)
        among = weight.matmul(ops, x)
        # What lies behind a row must not matter: here it is the next one.
        np.testing.assert_array_equal(among[:5], weight.matmul(ops, x[:5].copy()))
        reference = x.astype(np.float64) @ weight.embedding(ops, np.arange(17, dtype=np.int32)).T
        assert np.linalg.norm(among - reference) < 0.02 * np.linalg.norm(reference)


@pytest.mark.parametrize("ops", KERNELS)
@pytest.mark.parametrize("threads", [1, 2, 7, 64])
def test_any_number_of_threads_gives_the_same_bits(ops, threads, rng):
    before = _kernels.num_threads()
    cases = [(weight, rng.standard_normal((37, 512)).astype(np.float32)) for weight in weights(rng)]
    try:
        set_num_threads(1)
        expected = [weight.matmul(ops, x) for weight, x in cases]
        set_num_threads(threads)
        for (weight, x), alone in zip(cases, expected, strict=True):
            np.testing.assert_array_equal(weight.matmul(ops, x), alone)
    finally:
        set_num_threads(before)


@pytest.mark.parametrize("threads", [0, -1])
def test_no_threads_are_refused(threads):
    before = _kernels.num_threads()
    with pytest.raises(ConfigError, match=f"threads is {threads}; it must be at least 1"):
        set_num_threads(threads)
    with pytest.raises(ValueError, match="at least 1"):
        _kernels.set_num_threads(threads)
    assert _kernels.num_threads() == before
