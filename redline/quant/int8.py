"""Int8Weight: 8-bit codes with a scale, and optionally a min, per group of inputs."""

from __future__ import annotations

import numpy as np

from redline.errors import ModelFileError
from redline.ops.arrays import Array
from redline.quant.integer import IntWeight, pack_int


class Int8Weight(IntWeight):
    """weight = scale * code (+ min); activations are quantised to 16 bits per row and group."""

    @classmethod
    def pack(
        cls, codes_OK: Array, scales_OG: Array, mins_OG: Array | None = None, group: int = 32
    ) -> Int8Weight:
        """From int8 or uint8 codes; group is 32 or a multiple, or 16 without mins.

        Raises ModelFileError for another dtype or when the shapes do not agree.
        """
        if codes_OK.dtype == np.int8:
            return cls(
                pack_int(codes_OK.view(np.uint8) ^ 0x80, scales_OG, mins_OG, group, bits=8, offset=128)
            )
        if codes_OK.dtype == np.uint8:
            return cls(pack_int(codes_OK, scales_OG, mins_OG, group, bits=8, offset=0))
        raise ModelFileError(f"int8 codes are {codes_OK.dtype}; they must be int8 or uint8")
