import tracemalloc

import gguf
import numpy as np
import pytest

from redline.errors import ModelFileError, UnsupportedModel
from redline.ops.registry import backend
from redline.ops.weight_memory import CHUNK, weight_memory
from redline.quant.gguf import dequantise_gguf, packed_bytes, weight_from_gguf
from tests.quant.gguf_blocks import random_blocks

TYPES = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"]
TYPES += ["IQ4_NL", "IQ4_XS", "IQ2_XS", "IQ3_S", "TQ1_0", "MXFP4"]
LOSSLESS = {"F32": "f32", "F16": "f16", "BF16": "bf16", "Q2_K": "int2", "Q3_K": "int3", "Q6_K": "int6"}
LOSSLESS |= {name: "int4" for name in ("Q4_0", "Q4_1", "Q4_K", "IQ4_NL", "IQ4_XS")}
LOSSLESS |= {"Q5_0": "int5", "Q5_1": "int5", "Q5_K": "int5", "Q8_0": "int8"}
BITS = {"Q4_0": 4.5, "Q4_1": 5.0, "Q5_0": 5.5, "Q5_1": 6.0, "Q8_0": 8.5, "F16": 16.0, "IQ4_NL": 4.5}
BITS |= {"Q2_K": 2.625, "Q3_K": 3.5625, "Q4_K": 4.625, "Q5_K": 5.625, "Q6_K": 6.5625, "IQ4_XS": 4.3125}


def by_the_library(blocks, name, num_outputs):
    kind = gguf.GGMLQuantizationType[name]
    return gguf.quants.dequantize(blocks.reshape(num_outputs, -1), kind).astype(np.float32)


def rows_of(weight):
    return weight.embedding(backend("cpu"), np.arange(weight.num_outputs, dtype=np.int32))


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("num_outputs, num_inputs", [(1, 256), (33, 512), (1100, 256)])
def test_means_what_the_gguf_library_dequantises(name, num_outputs, num_inputs, rng):
    blocks = random_blocks(rng, name, num_outputs, num_inputs)
    expected = by_the_library(blocks, name, num_outputs)
    kind = int(gguf.GGMLQuantizationType[name])
    weight = weight_from_gguf(blocks, kind, (num_outputs, num_inputs))
    assert weight.format == LOSSLESS.get(name, "f16")
    stored = expected if name in LOSSLESS else expected.astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(rows_of(weight), stored)
    np.testing.assert_array_equal(dequantise_gguf(blocks, kind, expected.shape), expected)


@pytest.mark.parametrize("name", TYPES)
def test_float_compute_stores_the_dequantised_values(name, rng):
    blocks = random_blocks(rng, name, 40, 256)
    weight = weight_from_gguf(blocks, int(gguf.GGMLQuantizationType[name]), (40, 256), compute="float")
    assert weight.format == "f32"
    np.testing.assert_array_equal(rows_of(weight), by_the_library(blocks, name, 40))


@pytest.mark.parametrize("compute", ["int8", "float"])
@pytest.mark.parametrize("name", TYPES)
def test_parts_are_stacked_by_outputs(name, compute, rng):
    counts, kind = (9, 3, 24), int(gguf.GGMLQuantizationType[name])
    parts = [random_blocks(rng, name, count, 256) for count in counts]
    merged = weight_from_gguf(list(zip(parts, counts, strict=True)), kind, (36, 256), compute)
    whole = weight_from_gguf(np.concatenate(parts), kind, (36, 256), compute)
    np.testing.assert_array_equal(rows_of(merged), rows_of(whole))
    x = rng.standard_normal((3, 256)).astype(np.float32)
    ops = backend("cpu")
    np.testing.assert_array_equal(merged.matmul(ops, x), whole.matmul(ops, x))


@pytest.mark.parametrize("name, bits", BITS.items())
def test_nbytes_is_what_the_format_takes(name, bits, rng):
    weight = weight_from_gguf(
        random_blocks(rng, name, 64, 512), int(gguf.GGMLQuantizationType[name]), (64, 512)
    )
    assert weight.nbytes == 64 * 512 * bits / 8


@pytest.mark.parametrize("compute", ["int8", "float"])
@pytest.mark.parametrize("name", TYPES)
def test_the_size_of_a_weight_is_known_without_it(name, compute, rng):
    kind = int(gguf.GGMLQuantizationType[name])
    weight = weight_from_gguf(random_blocks(rng, name, 37, 768), kind, (37, 768), compute)
    assert packed_bytes(kind, (37, 768), compute) == weight.nbytes


@pytest.mark.parametrize("name", ["Q4_K", "Q8_0", "F16"])
def test_dequantising_takes_nothing_of_the_memory_of_weights(name, rng):
    weight_memory.zeros((1,), np.uint8)
    before = weight_memory._used
    dequantise_gguf(random_blocks(rng, name, 64, 256), int(gguf.GGMLQuantizationType[name]), (64, 256))
    assert weight_memory._used == before


@pytest.mark.parametrize("name", ["Q4_1", "Q4_K", "F16", "IQ3_S"])
def test_packing_makes_no_float_copy(name, rng):
    blocks, kind = random_blocks(rng, name, 32768, 512), int(gguf.GGMLQuantizationType[name])
    weight_from_gguf(blocks[: blocks.size // 32768], kind, (1, 512))  # imports are not counted
    tracemalloc.start()
    weight = weight_from_gguf(blocks, kind, (32768, 512))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < weight.nbytes + CHUNK + (8 << 20) < weight.nbytes + 32768 * 512 * 4


def test_any_rank_is_dequantised(rng):
    blocks = random_blocks(rng, "F16", 6, 32)
    expected = by_the_library(blocks, "F16", 6)
    np.testing.assert_array_equal(dequantise_gguf(blocks, 1, (2, 3, 32)), expected.reshape(2, 3, 32))
    np.testing.assert_array_equal(dequantise_gguf(blocks[:64], 1, (32,)), expected[0])


def test_a_tensor_of_the_wrong_size_is_refused(rng):
    blocks = random_blocks(rng, "Q4_1", 8, 64)
    for bad in (blocks[:-1], np.append(blocks, np.uint8(0)), blocks[:0]):
        with pytest.raises(ModelFileError, match="must have 320"):
            weight_from_gguf(bad, 3, (8, 64))
    with pytest.raises(ModelFileError, match="multiples of 32"):
        weight_from_gguf(blocks, 3, (8, 65))
    with pytest.raises(ModelFileError, match="together they must be 8"):
        weight_from_gguf([(blocks, 7)], 3, (8, 64))
    with pytest.raises(ModelFileError, match="must have 320"):
        dequantise_gguf(blocks[:-2], 3, (8, 64))


@pytest.mark.parametrize("kind", [4, 5, 999, -1])
def test_an_unknown_type_is_refused(kind):
    with pytest.raises(UnsupportedModel, match=str(kind)):
        weight_from_gguf(np.zeros(320, np.uint8), kind, (8, 64))


@pytest.mark.parametrize("kind, num_bytes", [(15, 292), (24, 256), (28, 2048)])
def test_a_type_that_nothing_dequantises_is_refused(kind, num_bytes):
    with pytest.raises(UnsupportedModel, match="cannot be read as weights"):
        weight_from_gguf(np.zeros(num_bytes, np.uint8), kind, (1, 256))
