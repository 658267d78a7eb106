"""Packed weight matrices: the arrays that the matmul ops read, and how they are laid out.

A matrix [O outputs, K inputs] is cut into blocks of 16 outputs, and the outputs of a block lie side by
side, so that one vector lane is one output. O and K are padded to whole blocks and groups with zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from redline.ops.arrays import Array
from redline.ops.weight_memory import PassingMemory, WeightMemory, weight_memory

Memory = WeightMemory | PassingMemory

BLOCK = 16
GROUP = 32
SUPERBLOCK = 256
CODE_BITS = (2, 3, 4, 5, 6, 8)
# Weights kept at 6 or 8 bits are those that need precision, such as output matrices: activations of 8 bits
# would lose more than the weights did. At one row, which waits for memory, the second plane costs little.
# With 5 bits and fewer the weights lose more, and many rows are up to twice as fast without it.
ACTIVATION_BITS = {2: 8, 3: 8, 4: 8, 5: 8, 6: 16, 8: 16}
SCALE_FORMATS = ("f32", "f16", "nested8", "nested4")
FLOAT_FORMATS = ("f32", "f16", "bf16")


@dataclass(frozen=True, eq=False)
class PackedFloat:
    """panels[ceil(O / 16), K, 16] in float32, float16 or bfloat16; `format` says which."""

    panels: Array
    num_outputs: int
    num_inputs: int
    format: str

    @classmethod
    def zeros(
        cls, num_outputs: int, num_inputs: int, format: str, memory: Memory = weight_memory
    ) -> PackedFloat:
        panels = memory.zeros((-(-num_outputs // BLOCK), num_inputs, BLOCK), float_dtype(format))
        return cls(panels, num_outputs, num_inputs, format)

    @staticmethod
    def num_bytes(num_outputs: int, num_inputs: int, format: str) -> int:
        """Bytes of such a matrix, which need not exist."""
        return -(-num_outputs // BLOCK) * BLOCK * num_inputs * int(float_dtype(format).itemsize)

    @property
    def nbytes(self) -> int:
        return int(self.panels.nbytes)

    @cached_property
    def kernel(self) -> Any:
        """The same matrix as the compiled kernels take it."""
        from redline import _kernels

        kind = FLOAT_FORMATS.index(self.format)
        return _kernels.PackedFloat(as_bytes(self.panels), kind, self.num_outputs, self.num_inputs)


@dataclass(frozen=True, eq=False)
class PackedInt:
    """weight = scale * (code - offset) + min, with codes of 2, 3, 4, 5, 6 or 8 bits.

    codes     uint8 [blocks, groups of 32, bytes]; four consecutive k of one output lie side by side (a quad
              of a lane). A section of `w` bits holds, in vectors [lane, 4], the quads 0 to 7 from the low
              bits of each byte up, 8 / w to a vector. 2, 4 and 8 bits are one section; 3 is one of the low 2
              bits and one of the high bit, 5 of 4 and 1, 6 of 4 and 2.
    scales    per block and group of `group` inputs, 32 or 16, one per lane. `scale_format` says how:
              "f32", "f16": float32 or float16 [blocks, groups, lane];
              "nested8": scale = d * factor, as uint8 [blocks, superblocks of 256 inputs, bytes]; the bytes
              are float16 d [lane] and int8 factors [groups, lane];
              "nested4": the same with factors 0..15, two groups of 16 in the nibbles of one [lane]
    mins      like scales, or None
    codebook  uint8 [16], or None: the stored 4 bits are an index, and the code is codebook[index]

    Larger groups, of 64 or 128 inputs, are groups of 32 with equal scales. `activation_bits`, 8 or 16, is
    what x is quantised to when it meets this matrix.
    """

    codes: Array
    scales: Array
    mins: Array | None
    num_outputs: int
    num_inputs: int
    bits: int
    offset: int
    scale_format: str
    group: int = GROUP
    codebook: Array | None = None
    activation_bits: int = 8

    @classmethod
    def zeros(  # noqa: PLR0913 - what makes a format
        cls,
        num_outputs: int,
        num_inputs: int,
        bits: int,
        offset: int,
        scale_format: str,
        mins: bool,
        group: int = GROUP,
        codebook: Array | None = None,
        memory: Memory = weight_memory,
    ) -> PackedInt:
        assert bits in CODE_BITS, f"{bits = }"
        blocks, groups = -(-num_outputs // BLOCK), -(-num_inputs // GROUP)
        scales = _scales_shape(blocks, num_inputs, scale_format, group)
        return cls(
            codes=memory.zeros((blocks, groups, BLOCK * GROUP * bits // 8), np.uint8),
            scales=memory.zeros(*scales),
            mins=memory.zeros(*scales) if mins else None,
            num_outputs=num_outputs,
            num_inputs=num_inputs,
            bits=bits,
            offset=offset,
            scale_format=scale_format,
            group=group,
            codebook=codebook,
            activation_bits=ACTIVATION_BITS[bits],
        )

    @staticmethod
    def num_bytes(
        num_outputs: int, num_inputs: int, bits: int, scale_format: str, mins: bool, group: int = GROUP
    ) -> int:
        """Bytes of such a matrix, which need not exist."""
        blocks, groups = -(-num_outputs // BLOCK), -(-num_inputs // GROUP)
        shape, dtype = _scales_shape(blocks, num_inputs, scale_format, group)
        scales = prod(shape) * int(dtype.itemsize)
        return blocks * groups * (BLOCK * GROUP * bits // 8) + scales * (2 if mins else 1)

    @property
    def nbytes(self) -> int:
        return int(self.codes.nbytes + self.scales.nbytes + (0 if self.mins is None else self.mins.nbytes))

    @cached_property
    def kernel(self) -> Any:
        """The same matrix as the compiled kernels take it."""
        from redline import _kernels

        return _kernels.PackedInt(
            as_bytes(self.codes),
            as_bytes(self.scales),
            None if self.mins is None else as_bytes(self.mins),
            self.codebook,
            SCALE_FORMATS.index(self.scale_format),
            self.bits,
            self.offset,
            self.group,
            self.activation_bits // 8,
            self.num_outputs,
            self.num_inputs,
        )


def _scales_shape(blocks: int, num_inputs: int, scale_format: str, group: int) -> tuple[tuple[int, ...], Any]:
    """Shape and dtype of the scales of a matrix, or of its mins."""
    if scale_format in ("f32", "f16"):
        return (blocks, -(-num_inputs // GROUP) * (GROUP // group), BLOCK), float_dtype(scale_format)
    assert num_inputs % SUPERBLOCK == 0, f"{num_inputs = }"
    factor_bytes = SUPERBLOCK // group * BLOCK * int(scale_format.removeprefix("nested")) // 8
    return (blocks, num_inputs // SUPERBLOCK, 2 * BLOCK + factor_bytes), np.dtype(np.uint8)


def float_dtype(format: str) -> Any:
    """The NumPy dtype of a float format."""
    if format == "bf16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype({"f32": np.float32, "f16": np.float16}[format])


def as_bytes(array: Array) -> Array:
    """The memory of a dense array as one row of bytes."""
    return array.reshape(-1).view(np.uint8)
