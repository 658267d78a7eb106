"""Packed weight matrices: the arrays that the matmul ops read, and how they are laid out.

A matrix [O outputs, K inputs] is cut into blocks of 16 outputs, and the outputs of a block lie side by
side, so that one vector lane is one output. O and K are padded to whole blocks and groups with zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from redline.ops.arrays import Array
from redline.ops.weight_memory import weight_memory

BLOCK = 16
GROUP = 32
# Weights kept at 8 bits are those that need precision: coarse activations would waste it. They are also the
# few (an output matrix, or a whole model that is memory-bound anyway), so the second plane costs little.
ACTIVATION_BITS = {4: 8, 8: 16}
FLOAT_FORMATS = ("f32", "f16", "bf16")


@dataclass(frozen=True, eq=False)
class PackedFloat:
    """panels[ceil(O / 16), K, 16] in float32, float16 or bfloat16; `format` says which."""

    panels: Array
    num_outputs: int
    num_inputs: int
    format: str

    @classmethod
    def zeros(cls, num_outputs: int, num_inputs: int, format: str) -> PackedFloat:
        panels = weight_memory.zeros((-(-num_outputs // BLOCK), num_inputs, BLOCK), float_dtype(format))
        return cls(panels, num_outputs, num_inputs, format)

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
    """weight = scale * (code - offset) + min, with codes of 8 or 4 bits.

    codes   uint8 [blocks, groups of 32, bytes]; four consecutive k of one output lie side by side (a
            quad). 8 bits: [quad 0..7, lane, 4]. 4 bits: [pair 0..3, lane, 4], low nibbles of quad 2 * pair
            and high nibbles of quad 2 * pair + 1.
    scales  float16 or float32 [blocks, groups of `group` inputs, lane]; group is 32, or 16 (8 bits only,
            without mins)
    mins    like scales, or None

    `activation_bits`, 8 or 16, is what x is quantised to when it meets this matrix.
    """

    codes: Array
    scales: Array
    mins: Array | None
    num_outputs: int
    num_inputs: int
    bits: int
    offset: int
    group: int = GROUP
    activation_bits: int = 8

    @classmethod
    def zeros(
        cls,
        num_outputs: int,
        num_inputs: int,
        bits: int,
        offset: int,
        scale_dtype: Any,
        mins: bool,
        group: int,
    ) -> PackedInt:
        blocks, groups = -(-num_outputs // BLOCK), -(-num_inputs // GROUP)
        scales_shape = (blocks, groups * (GROUP // group), BLOCK)
        return cls(
            codes=weight_memory.zeros((blocks, groups, BLOCK * GROUP * bits // 8), np.uint8),
            scales=weight_memory.zeros(scales_shape, scale_dtype),
            mins=weight_memory.zeros(scales_shape, scale_dtype) if mins else None,
            num_outputs=num_outputs,
            num_inputs=num_inputs,
            bits=bits,
            offset=offset,
            group=group,
            activation_bits=ACTIVATION_BITS[bits],
        )

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
            self.scales.dtype == np.float16,
            self.offset,
            self.group,
            self.activation_bits // 8,
            self.num_outputs,
            self.num_inputs,
        )


def float_dtype(format: str) -> Any:
    """The NumPy dtype of a float format."""
    if format == "bf16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype({"f32": np.float32, "f16": np.float16}[format])


def as_bytes(array: Array) -> Array:
    """The memory of a dense array as one row of bytes."""
    return array.reshape(-1).view(np.uint8)
