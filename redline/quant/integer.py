"""Row-major codes, scales and mins into the packed layout of the integer matmuls."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self, Unpack

import numpy as np

from redline.errors import ModelFileError
from redline.ops.arrays import Array
from redline.ops.fused import Fused
from redline.ops.packed import BLOCK, GROUP, PackedInt
from redline.quant.base import check_shape


def pack_int(
    codes_OK: Array, scales_OG: Array, mins_OG: Array | None, group: int, bits: int, offset: int
) -> PackedInt:
    """weight = scale * (code - offset) + min. Raises ModelFileError when the shapes do not agree.

    Scales of a group larger than 32 are repeated for every 32: at worst 3 of 4 are copies, which for int4 in
    groups of 128 without mins is 8 % of the bytes. Scales are kept as float16 when that loses nothing.
    """
    num_outputs, num_inputs = codes_OK.shape
    smallest = 16 if bits == 8 and mins_OG is None else GROUP
    if group != smallest and (group < GROUP or group % GROUP):
        raise ModelFileError(f"group size is {group}; int{bits} takes {smallest} or a multiple of {GROUP}")
    expected = (num_outputs, -(-num_inputs // group))
    check_shape("scales", scales_OG.shape, expected)
    if mins_OG is not None:
        check_shape("mins", mins_OG.shape, expected)
    stored = min(group, GROUP)
    half = group >= GROUP and all(_fits_half(array) for array in (scales_OG, mins_OG) if array is not None)
    packed = PackedInt.zeros(
        num_outputs, num_inputs, bits, offset, "f16" if half else "f32", mins_OG is not None, stored
    )
    _put_codes(packed, codes_OK.astype(np.uint8, copy=False))
    _put_scales(packed.scales, scales_OG, group // stored)
    if mins_OG is not None and packed.mins is not None:
        _put_scales(packed.mins, mins_OG, group // stored)
    return packed


def _fits_half(values: Array) -> bool:
    with np.errstate(over="ignore"):
        return bool((values.astype(np.float16).astype(np.float32) == values).all())


def _put_codes(packed: PackedInt, codes_OK: Array) -> None:
    blocks, groups, _ = packed.codes.shape
    padding = ((0, blocks * BLOCK - codes_OK.shape[0]), (0, groups * GROUP - codes_OK.shape[1]))
    quads = np.pad(codes_OK, padding).reshape(blocks, BLOCK, groups, 8, 4).transpose(0, 2, 3, 1, 4)
    if packed.bits == 4:
        quads = quads[:, :, 0::2] | quads[:, :, 1::2] << 4
    packed.codes.reshape(quads.shape)[...] = quads


def _put_scales(target: Array, scales_OG: Array, repeat: int) -> None:
    blocks, groups, _ = target.shape
    spread = np.repeat(scales_OG, repeat, axis=1)[:, :groups]
    padding = ((0, blocks * BLOCK - spread.shape[0]), (0, groups - spread.shape[1]))
    target[...] = np.pad(spread, padding).reshape(blocks, BLOCK, groups).transpose(0, 2, 1)


class IntWeight:
    """A matrix of integer codes with a scale, and in some formats a min, per group of inputs."""

    def __init__(self, packed: PackedInt) -> None:
        self.packed = packed
        self.format = f"int{packed.bits}"
        self.num_outputs, self.num_inputs = packed.num_outputs, packed.num_inputs

    @property
    def nbytes(self) -> int:
        return self.packed.nbytes

    def matmul(self, ops: Any, x_TK: Any, **fused: Unpack[Fused]) -> Any:
        return ops.matmul_int(x_TK, self.packed, **fused)

    def with_precise_activations(self) -> Self:
        """The same matrix, multiplied with activations of 16 bits."""
        return type(self)(replace(self.packed, activation_bits=16))

    def embedding(self, ops: Any, ids_T: Any) -> Any:
        return ops.embedding_int(ids_T, self.packed)
