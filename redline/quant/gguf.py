"""GGUF tensors as weights: packed without loss where a kernel has the format, else through float16.

F32 F16 BF16 stay floats. Integer types keep the bits of their codes, and their scales as the file has them:

    2 bits  Q2_K            5 bits  Q5_0 Q5_1 Q5_K
    3 bits  Q3_K            6 bits  Q6_K
    4 bits  Q4_0 Q4_1 Q4_K  8 bits  Q8_0
            IQ4_NL IQ4_XS

The K-quants and IQ4_XS have a float16 scale for 256 weights and small factors for each 16 or 32 (Q2_K: of 4
bits; the others: kept in 8, where some files have 6). Each of these types means exactly what the `gguf`
library dequantises it to. All others are dequantised by that library and stored as float16.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from redline import _kernels
from redline.errors import ModelFileError, UnsupportedModel
from redline.ops.arrays import F32, Array
from redline.ops.packed import Memory, PackedFloat, PackedInt, as_bytes
from redline.ops.registry import backend
from redline.ops.weight_memory import passing_memory, weight_memory
from redline.quant.base import Weight
from redline.quant.float import ROWS_AT_ONCE, FloatWeight, fill_float
from redline.quant.integer import IntWeight

Part = tuple[Array, int]  # (raw blocks as bytes, number of outputs)


@dataclass(frozen=True)
class IntBlock:
    """Weights and bytes of a block in the file, and how it is stored once packed (see PackedInt)."""

    weights: int
    num_bytes: int
    bits: int
    offset: int
    mins: bool
    scales: str = "f16"
    group: int = 32
    codebook: Array | None = None


FLOAT_TYPES = {0: ("f32", 4), 1: ("f16", 2), 30: ("bf16", 2)}
# The values of the 4-bit indices of IQ4_NL and IQ4_XS, + 128.
IQ4_CODES = np.array([1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241], np.uint8)
INT_TYPES = {
    2: IntBlock(32, 18, bits=4, offset=8, mins=False),  # Q4_0
    3: IntBlock(32, 20, bits=4, offset=0, mins=True),  # Q4_1
    6: IntBlock(32, 22, bits=5, offset=16, mins=False),  # Q5_0
    7: IntBlock(32, 24, bits=5, offset=0, mins=True),  # Q5_1
    8: IntBlock(32, 34, bits=8, offset=128, mins=False),  # Q8_0
    10: IntBlock(256, 84, bits=2, offset=0, mins=True, scales="nested4", group=16),  # Q2_K
    11: IntBlock(256, 110, bits=3, offset=4, mins=False, scales="nested8", group=16),  # Q3_K
    12: IntBlock(256, 144, bits=4, offset=0, mins=True, scales="nested8"),  # Q4_K
    13: IntBlock(256, 176, bits=5, offset=0, mins=True, scales="nested8"),  # Q5_K
    14: IntBlock(256, 210, bits=6, offset=32, mins=False, scales="nested8", group=16),  # Q6_K
    20: IntBlock(32, 18, bits=4, offset=128, mins=False, codebook=IQ4_CODES),  # IQ4_NL
    23: IntBlock(256, 136, bits=4, offset=128, mins=False, scales="nested8", codebook=IQ4_CODES),  # IQ4_XS
}


def weight_from_gguf(
    blocks: Array | Sequence[Part], ggml_type: int, shape: tuple[int, int], compute: str = "int8"
) -> Weight:
    """The weight of one tensor, or of several of one type stacked by outputs (merged q, k and v).

    blocks: the raw bytes of a tensor (uint8, a memory map will do), or a list of (bytes, outputs).
    shape: (outputs, inputs) of the result. compute: "int8", or "float" for float32 weights and kernels.
    Raises ModelFileError when the bytes do not fit the shape, UnsupportedModel for an unknown type.
    """
    assert compute in ("int8", "float"), f"{compute = }"
    parts = [(blocks, shape[0])] if isinstance(blocks, np.ndarray) else list(blocks)
    if sum(rows for _, rows in parts) != shape[0]:
        raise ModelFileError(
            f"parts have {[rows for _, rows in parts]} outputs; together they must be {shape[0]}"
        )
    rows = [(_checked(part, ggml_type, count, shape[1]), count) for part, count in parts]
    if compute == "float" and ggml_type != 0:
        return _pack_dequantised(rows, ggml_type, shape, "f32")
    if ggml_type in FLOAT_TYPES:
        return _pack_float(rows, FLOAT_TYPES[ggml_type][0], shape)
    if ggml_type in INT_TYPES:
        return _pack_int(rows, ggml_type, shape)
    return _pack_dequantised(rows, ggml_type, shape, "f16")


def packed_bytes(ggml_type: int, shape: tuple[int, int], compute: str) -> int:
    """Bytes of what `weight_from_gguf` makes of a tensor, without reading any of it."""
    if compute == "float":
        return PackedFloat.num_bytes(*shape, "f32")
    if ggml_type in INT_TYPES:
        block = INT_TYPES[ggml_type]
        return PackedInt.num_bytes(*shape, block.bits, block.scales, block.mins, block.group)
    return PackedFloat.num_bytes(*shape, FLOAT_TYPES.get(ggml_type, ("f16", 2))[0])


def dequantise_gguf(blocks: Array, ggml_type: int, shape: tuple[int, ...]) -> F32:
    """The float32 values of a tensor of any rank; the last axis is the one that blocks run along.

    Raises ModelFileError when the bytes do not fit the shape, UnsupportedModel for an unknown type.
    """
    num_inputs = shape[-1] if shape else 1
    num_rows = int(np.prod(shape[:-1], dtype=np.int64))
    raw = _checked(blocks, ggml_type, num_rows, num_inputs)
    return _dequantise(raw, ggml_type, num_rows, num_inputs).reshape(shape)


def _checked(blocks: Array, ggml_type: int, num_rows: int, num_inputs: int) -> Array:
    """The bytes as one row, if there are as many as the shape needs."""
    weights, num_bytes = _block_size(ggml_type)
    if num_inputs % weights:
        raise ModelFileError(
            f"a tensor has rows of {num_inputs}; GGUF type {ggml_type} needs multiples of {weights}"
        )
    raw = as_bytes(np.ascontiguousarray(blocks))
    expected = num_rows * (num_inputs // weights) * num_bytes
    if raw.size != expected:
        raise ModelFileError(
            f"a tensor of GGUF type {ggml_type} and shape ({num_rows}, {num_inputs}) has {raw.size} bytes; "
            f"it must have {expected}: the file is truncated or its header is wrong"
        )
    return raw


def _block_size(ggml_type: int) -> tuple[int, int]:
    """Weights and bytes of one block."""
    if ggml_type in FLOAT_TYPES:
        return 1, FLOAT_TYPES[ggml_type][1]
    if ggml_type in INT_TYPES:
        return INT_TYPES[ggml_type].weights, INT_TYPES[ggml_type].num_bytes
    gguf = _gguf()
    try:
        weights, num_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(ggml_type)]
    except (KeyError, ValueError):
        raise UnsupportedModel(f"GGUF tensor type {ggml_type} is unknown; convert the file to Q8_0") from None
    return int(weights), int(num_bytes)


def _gguf() -> Any:
    """The `gguf` library. It is slow to import, and most files never need it."""
    import gguf
    import gguf.quants

    return gguf


def _pack_float(
    rows: list[Part], format: str, shape: tuple[int, int], memory: Memory = weight_memory
) -> FloatWeight:
    packed = PackedFloat.zeros(*shape, format, memory)
    first = 0
    for raw, count in rows:
        fill_float(packed, raw, first, count)
        first += count
    return FloatWeight(packed)


def _pack_int(
    rows: list[Part], ggml_type: int, shape: tuple[int, int], memory: Memory = weight_memory
) -> IntWeight:
    block = INT_TYPES[ggml_type]
    packed = PackedInt.zeros(
        *shape, block.bits, block.offset, block.scales, block.mins, block.group, block.codebook, memory
    )
    codes, scales = as_bytes(packed.codes), as_bytes(packed.scales)
    mins = None if packed.mins is None else as_bytes(packed.mins)
    first = 0
    for raw, count in rows:
        known = _kernels.pack_gguf(ggml_type, raw, count, shape[1], first, codes, scales, mins)
        assert known, f"{ggml_type = }"
        first += count
    return IntWeight(packed)


def _pack_dequantised(rows: list[Part], ggml_type: int, shape: tuple[int, int], format: str) -> FloatWeight:
    packed = PackedFloat.zeros(*shape, format)
    first = 0
    for raw, count in rows:
        bytes_per_row = raw.size // max(count, 1)
        for start in range(0, count, ROWS_AT_ONCE):
            chunk = min(ROWS_AT_ONCE, count - start)
            piece = raw[start * bytes_per_row : (start + chunk) * bytes_per_row]
            values = _dequantise(piece, ggml_type, chunk, shape[1]).astype(packed.panels.dtype, copy=False)
            fill_float(packed, as_bytes(values), first + start, chunk)
        first += count
    return FloatWeight(packed)


def _dequantise(raw: Array, ggml_type: int, num_rows: int, num_inputs: int) -> F32:
    """Float32 rows; types with a kernel are packed and looked up, which is exact and fast."""
    rows, shape = [(raw, num_rows)], (num_rows, num_inputs)
    if ggml_type in FLOAT_TYPES:
        weight: Weight = _pack_float(rows, FLOAT_TYPES[ggml_type][0], shape, passing_memory)
    elif ggml_type in INT_TYPES:
        weight = _pack_int(rows, ggml_type, shape, passing_memory)
    else:
        gguf = _gguf()
        kind = gguf.GGMLQuantizationType(ggml_type)
        try:
            values: F32 = gguf.quants.dequantize(raw.reshape(num_rows, -1), kind)
        except RuntimeError:  # what the library says of types without a decoder
            raise UnsupportedModel(
                f"GGUF tensor type {kind.name} cannot be read as weights; convert the file to Q8_0"
            ) from None
        return np.ascontiguousarray(values, dtype=np.float32).reshape(num_rows, num_inputs)
    values_OK: F32 = weight.embedding(backend("cpu"), np.arange(num_rows, dtype=np.int32))
    return values_OK
