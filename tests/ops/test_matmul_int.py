from dataclasses import replace

import gguf
import numpy as np
import pytest

from redline import _kernels
from redline.errors import KernelError
from redline.ops import dequantise
from redline.ops.dequantise import int_matrix
from redline.ops.matmul_int.reference import matmul_int as reference
from redline.quant.gguf import weight_from_gguf
from redline.quant.int4 import Int4Weight
from redline.quant.int8 import Int8Weight
from tests.ops.backends import BACKENDS, KERNELS
from tests.quant.gguf_blocks import random_blocks

ROWS = (1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 17, 31, 32, 33, 63, 64)
SHAPES = [(1, 32), (7, 64), (8, 96), (9, 40), (33, 576), (16, 1), (65, 100), (40, 1536)]
# name: class, codes, with mins, group, scales that fit float16, bits of the activations
FORMATS = {
    "int4": (Int4Weight, np.uint8, False, 32, True, 8),
    "int4-mins": (Int4Weight, np.uint8, True, 32, True, 8),
    "int4-mins-f32": (Int4Weight, np.uint8, True, 64, False, 8),
    "int4-f32": (Int4Weight, np.uint8, False, 128, False, 8),
    "int4-x16": (Int4Weight, np.uint8, False, 32, True, 16),
    "int4-mins-x16": (Int4Weight, np.uint8, True, 32, True, 16),
    "int8": (Int8Weight, np.int8, False, 32, True, 16),
    "int8-mins": (Int8Weight, np.int8, True, 64, True, 16),
    "int8-unsigned-mins-f32": (Int8Weight, np.uint8, True, 32, False, 16),
    "int8-f32": (Int8Weight, np.int8, False, 128, False, 16),
    "int8-group16": (Int8Weight, np.int8, False, 16, False, 16),
    "int8-x8": (Int8Weight, np.int8, False, 32, True, 8),
    "int8-unsigned-mins-x8": (Int8Weight, np.uint8, True, 32, False, 8),
    "int8-group16-x8": (Int8Weight, np.int8, False, 16, False, 8),
}
# Formats that only files bring: GGUF type, bits of the activations.
GGUF_FORMATS = {
    f"{kind}-x{bits}": (kind, bits)
    for bits in (8, 16)
    for kind in ("Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS")
}
ALL_FORMATS = (*FORMATS, *GGUF_FORMATS)
CASES = [(name, *shape) for name in FORMATS for shape in SHAPES]
CASES += [(name, *shape) for name in GGUF_FORMATS for shape in [(9, 32), (33, 576)]]


def random_arrays(rng, name, num_outputs, num_inputs):
    cls, dtype, has_mins, group, half, _ = FORMATS[name]
    low, high = (0, 16) if cls is Int4Weight else (np.iinfo(dtype).min, np.iinfo(dtype).max + 1)
    codes = rng.integers(low, high, (num_outputs, num_inputs), dtype=dtype)
    codes.flat[: min(4, codes.size)] = [low, high - 1, low, high - 1][: min(4, codes.size)]
    scale_dtype = np.float16 if half else np.float32
    shape = (num_outputs, -(-num_inputs // group))
    scales = rng.uniform(0.01, 0.1, shape).astype(scale_dtype).astype(np.float32)
    mins = rng.uniform(-0.5, 0.1, shape).astype(scale_dtype).astype(np.float32) if has_mins else None
    return codes, scales, mins, group


def random_weight(rng, name, num_outputs, num_inputs):
    """In a GGUF format the inputs are rounded up to whole blocks."""
    if name in FORMATS:
        return pack(name, *random_arrays(rng, name, num_outputs, num_inputs))
    kind, activation_bits = GGUF_FORMATS[name]
    ggml_type = gguf.GGMLQuantizationType[kind]
    block_inputs = gguf.GGML_QUANT_SIZES[ggml_type][0]
    shape = num_outputs, -(-num_inputs // block_inputs) * block_inputs
    weight = weight_from_gguf(random_blocks(rng, kind, *shape), int(ggml_type), shape)
    return type(weight)(replace(weight.packed, activation_bits=activation_bits))


def pack(name, *arrays):
    cls, *_, activation_bits = FORMATS[name]
    return cls(replace(cls.pack(*arrays).packed, activation_bits=activation_bits))


def plain_matrix(name, codes, scales, mins, group):
    """The matrix [O, K] that the arrays mean, in float64, worked out without the packed layout."""
    spread = [None if a is None else np.repeat(a, group, axis=1)[:, : codes.shape[1]] for a in (scales, mins)]
    signed = codes.astype(np.float64) - (8 if name in ("int4", "int4-f32", "int4-x16") else 0)
    return signed * spread[0] + (0 if mins is None else spread[1])


def fixed_weights(packed):
    """The integers that the AMX kernels take for weights, and the units (csrc/cpu/int_fixed.h)."""
    codes = dequantise._codes(packed).astype(np.float64) - packed.offset
    ends = np.arange(2**packed.bits) if packed.codebook is None else packed.codebook.astype(np.float64)
    ends = np.array([ends.min(), ends.max()]) - packed.offset
    spread = [
        np.zeros_like(codes)
        if each is None
        else dequantise._spread(dequantise._scales(packed, each), packed.group, np.float32)
        for each in (packed.scales, packed.mins)
    ]
    most = np.max([np.abs(spread[0] * end + spread[1]) for end in ends], axis=(0, 2), initial=0)
    two_bytes = packed.bits <= 5 and packed.codebook is None
    limit = 127 * 256 if two_bytes else 127 * 65536
    if not two_bytes and packed.mins is None:
        most, limit = np.abs(spread[0]).max(axis=1), 32767
    exponents = np.frexp(np.maximum(most / limit, 1e-30).astype(np.float32))[1]
    units = np.ldexp(np.float32(1), exponents)
    scales, mins = (np.rint(each / units[:, None]) for each in spread)
    weights = scales * codes + mins
    assert np.abs(weights).max() < 2 ** (15 if two_bytes else 23)
    return weights[: packed.num_outputs, : packed.num_inputs], units[: packed.num_outputs]


def fixed_point(x, packed):
    """The result of the AMX kernels, to the bit: float64 adds integers below 2^53 exactly."""
    weights, units = fixed_weights(packed)
    amax = np.abs(x).max(axis=1, keepdims=True)
    most = np.float32(127 * 256)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        codes = np.where(amax < 1e-30, 0, np.rint(x * (most / amax)))
    scales = np.where(amax < 1e-30, 0, amax / most).astype(np.float32)
    return (codes.astype(np.float64) @ weights.T).astype(np.float32) * (units * scales)


def exact(ops, x, packed):
    """The product in float64 of the numbers that these kernels multiply."""
    if getattr(ops, "isa", None) == "amx":
        return fixed_point(x, packed)
    return reference(x.astype(np.float64), packed)


def assert_close(got, expected, x, packed):
    """Within 1e-5 of the sum of the magnitudes that were added up: what rounding may cost in float32."""
    size = np.abs(x).astype(np.float64) @ np.abs(int_matrix(packed, np.float64)).T
    assert got.dtype == np.float32
    assert np.all(np.abs(got - expected) <= 1e-5 * size + 1e-30)


@pytest.mark.parametrize("ops", BACKENDS)
@pytest.mark.parametrize("name, num_outputs, num_inputs", CASES)
def test_equals_float64(ops, name, num_outputs, num_inputs, rng):
    weight = random_weight(rng, name, num_outputs, num_inputs)
    for rows in ROWS:
        x = rng.standard_normal((rows, weight.num_inputs)).astype(np.float32)
        expected = exact(ops, x, weight.packed)
        got = weight.matmul(ops, x)
        assert_close(got, expected, x, weight.packed)
        if getattr(ops, "isa", None) == "amx":
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("ops", BACKENDS)
@pytest.mark.parametrize("name", FORMATS)
def test_is_close_to_the_matmul_without_quantised_activations(ops, name, rng):
    arrays = random_arrays(rng, name, 33, 576)
    x = rng.standard_normal((5, 576)).astype(np.float32)
    expected = x.astype(np.float64) @ plain_matrix(name, *arrays).T
    got = pack(name, *arrays).matmul(ops, x)
    bound = 0.01 if FORMATS[name][-1] == 8 else 0.0001
    if getattr(ops, "isa", None) == "amx":
        bound = 0.0005  # 16 bits of activations, whatever was asked for, and of weights
    assert np.linalg.norm(got - expected) < bound * np.linalg.norm(expected)


@pytest.mark.parametrize("ops", BACKENDS)
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("num_outputs, num_inputs", SHAPES)
def test_embedding_returns_the_rows(ops, name, num_outputs, num_inputs, rng):
    arrays = random_arrays(rng, name, num_outputs, num_inputs)
    ids = rng.integers(0, num_outputs, 70).astype(np.int32)
    got = FORMATS[name][0].pack(*arrays).embedding(ops, ids)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, plain_matrix(name, *arrays)[ids], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("ops", KERNELS)
@pytest.mark.parametrize("kind", ["Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS"])
def test_embedding_returns_the_rows_of_a_file_to_the_bit(ops, kind, rng):
    weight = random_weight(rng, f"{kind}-x8", 33, 512)
    ids = rng.integers(0, 33, 70).astype(np.int32)
    got = weight.embedding(ops, ids)
    np.testing.assert_array_equal(got, int_matrix(weight.packed, np.float32)[ids])


def test_weights_of_6_and_8_bits_get_precise_activations_and_those_of_fewer_on_request(rng):
    assert Int8Weight.pack(*random_arrays(rng, "int8", 8, 32)).packed.activation_bits == 16
    blocks = {name: random_blocks(rng, name, 8, 256) for name in ("Q5_K", "Q6_K")}
    assert weight_from_gguf(blocks["Q5_K"], 13, (8, 256)).packed.activation_bits == 8
    assert weight_from_gguf(blocks["Q6_K"], 14, (8, 256)).packed.activation_bits == 16
    weight = Int4Weight.pack(*random_arrays(rng, "int4", 8, 32))
    assert weight.packed.activation_bits == 8
    assert weight.with_precise_activations().packed.activation_bits == 16


@pytest.mark.parametrize("ops", KERNELS)
@pytest.mark.parametrize("name", ALL_FORMATS)
def test_row_of_a_batch_equals_the_row_alone(ops, name, rng):
    weight = random_weight(rng, name, 41, 608)
    x = rng.standard_normal((64, weight.num_inputs)).astype(np.float32)
    batch = weight.matmul(ops, x)
    for row in range(64):
        np.testing.assert_array_equal(batch[row], weight.matmul(ops, x[row : row + 1])[0])


@pytest.mark.parametrize("ops", KERNELS)
@pytest.mark.parametrize("name", ALL_FORMATS)
def test_threads_do_not_change_a_bit(ops, name, rng):
    weight = random_weight(rng, name, 200, 576)
    x = rng.standard_normal((70, weight.num_inputs)).astype(np.float32)
    before, results = _kernels.num_threads(), []
    try:
        for threads in (1, 2, 3):
            _kernels.set_num_threads(threads)
            results.append([weight.matmul(ops, x), weight.matmul(ops, x[:1]), weight.matmul(ops, x[:7])])
    finally:
        _kernels.set_num_threads(before)
    for result in results[1:]:
        for got, expected in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("ops", KERNELS[2:3])
@pytest.mark.parametrize("name", ALL_FORMATS)
def test_avx512_equals_avx2_bit_for_bit(ops, name, rng):
    avx2 = KERNELS[1].values[0]
    for num_outputs, num_inputs in SHAPES if name in FORMATS else [(9, 32), (33, 576)]:
        weight = random_weight(rng, name, num_outputs, num_inputs)
        x = rng.standard_normal((21, weight.num_inputs)).astype(np.float32)
        np.testing.assert_array_equal(weight.matmul(ops, x), weight.matmul(avx2, x))


@pytest.mark.parametrize("ops", KERNELS)
@pytest.mark.parametrize("name", ["int4-mins", "int4-mins-x16", "int8", "int8-group16"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_spoils_its_row_and_no_other(ops, name, bad, rng):
    weight = random_weight(rng, name, 33, 96)
    x = rng.standard_normal((9, 96)).astype(np.float32)
    good = weight.matmul(ops, x)
    x[4, 37] = bad
    got = weight.matmul(ops, x)
    assert np.isnan(got[4]).all()
    np.testing.assert_array_equal(np.delete(got, 4, 0), np.delete(good, 4, 0))


@pytest.mark.parametrize("ops", KERNELS)
@pytest.mark.parametrize("name", ALL_FORMATS)
def test_extreme_activations_do_not_overflow_the_integer_sums(ops, name, rng):
    weight = random_weight(rng, name, 33, 96)
    for value in (1e-38, 1e-31, 1e-20, 1.0, 1e34):
        for signs in ([1, 1], [-1, -1], [1, -1]):
            x = np.tile(value * np.array(signs), (5, weight.num_inputs // 2)).astype(np.float32)
            expected = exact(ops, x, weight.packed)
            assert_close(weight.matmul(ops, x), expected, x, weight.packed)


@pytest.mark.parametrize("ops", KERNELS)
def test_reads_a_strided_view(ops, rng):
    weight = random_weight(rng, "int4-mins", 20, 64)
    wide = rng.standard_normal((6, 200)).astype(np.float32)
    view = wide[:, 8:72]
    np.testing.assert_array_equal(weight.matmul(ops, view), weight.matmul(ops, view.copy()))


@pytest.mark.parametrize("ops", KERNELS)
def test_no_rows_give_no_rows(ops, rng):
    weight = random_weight(rng, "int8", 20, 64)
    assert weight.matmul(ops, np.zeros((0, 64), np.float32)).shape == (0, 20)
    assert weight.embedding(ops, np.zeros(0, np.int32)).shape == (0, 64)


@pytest.mark.parametrize("ops", KERNELS)
def test_wrong_arrays_are_refused(ops, rng):
    weight = random_weight(rng, "int8", 20, 64)
    for x in (np.zeros((2, 32), np.float32), np.zeros((2, 64)), np.zeros((2, 128), np.float32)[:, ::2]):
        with pytest.raises(KernelError, match=r"x \[rows, 64\]"):
            weight.matmul(ops, x)
    for ids in ([20], [-1], [3, 2**31 - 1]):
        with pytest.raises(KernelError, match=r"outside 0\.\.19"):
            weight.embedding(ops, np.array(ids, np.int32))
