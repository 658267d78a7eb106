"""Int4Weight: 4-bit codes, two to a byte, with a scale, and optionally a min, per group of inputs."""

from __future__ import annotations

import numpy as np

from redline.errors import ModelFileError
from redline.ops.arrays import Array
from redline.quant.integer import IntWeight, pack_int


class Int4Weight(IntWeight):
    """weight = scale * code + min, or scale * (code - 8); activations are quantised to 8 or 16 bits."""

    @classmethod
    def pack(
        cls, codes_OK: Array, scales_OG: Array, mins_OG: Array | None = None, group: int = 32
    ) -> Int4Weight:
        """From uint8 codes 0..15, one per byte; group is 32 or a multiple. Without mins: scale * (code - 8).

        Raises ModelFileError for other codes or when the shapes do not agree.
        """
        if codes_OK.dtype != np.uint8 or (codes_OK.size and codes_OK.max() > 15):
            raise ModelFileError(f"int4 codes are {codes_OK.dtype}; they must be uint8 between 0 and 15")
        return cls(pack_int(codes_OK, scales_OG, mins_OG, group, bits=4, offset=8 if mins_OG is None else 0))
