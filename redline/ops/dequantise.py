"""What packed arrays mean: the matrix they hold, and activations as the integer kernels see them.

Written once for every array-API namespace; the reference matmuls are built on these.
"""

from __future__ import annotations

from typing import Any

from redline.ops.array_api import namespace

SMALLEST = 1e-30


def float_matrix(packed: Any, dtype: Any) -> Any:
    """PackedFloat -> weight_OK."""
    xp = namespace(packed.panels)
    weight_BLK = xp.moveaxis(xp.asarray(packed.panels, dtype=dtype), 2, 1)
    return xp.reshape(weight_BLK, (-1, packed.num_inputs))[: packed.num_outputs]


def int_matrix(packed: Any, dtype: Any) -> Any:
    """PackedInt -> weight_OK = scale * (code - offset) + min."""
    xp = namespace(packed.codes)
    weight_OK = xp.asarray(_codes(packed), dtype=dtype) - packed.offset
    weight_OK = weight_OK * _spread(packed.scales, packed.group, dtype)
    if packed.mins is not None:
        weight_OK = weight_OK + _spread(packed.mins, packed.group, dtype)
    return weight_OK[: packed.num_outputs, : packed.num_inputs]


def quantised_activations(x_TK: Any, bits: int) -> Any:
    """x after its rounding to 8 or 16 bits: code * scale, per row and group of 32.

    scale = amax / most and code = nearest_even(x * (most / amax)), decided in float32 as the kernels do; most
    is 127, or 127 * 256.
    """
    most = 127 if bits == 8 else 127 * 256
    xp = namespace(x_TK)
    num_rows, num_inputs = x_TK.shape
    padded = xp.concat([x_TK, xp.zeros((num_rows, -num_inputs % 32), dtype=x_TK.dtype)], axis=1)
    x_TGI = xp.asarray(xp.reshape(padded, (num_rows, padded.shape[1] // 32, 32)), dtype=xp.float32)
    amax_TG1 = xp.amax(xp.abs(x_TGI), axis=-1, keepdims=True)
    amax_TG1 = xp.where(amax_TG1 < SMALLEST, xp.zeros_like(amax_TG1), amax_TG1)
    divisor = xp.where(amax_TG1 == 0, xp.ones_like(amax_TG1), amax_TG1)
    codes_TGI = xp.round(x_TGI * (most / divisor))
    x_TGI = xp.asarray(codes_TGI, dtype=x_TK.dtype) * xp.asarray(amax_TG1, dtype=x_TK.dtype) / most
    return xp.reshape(x_TGI, padded.shape)[:, :num_inputs]


def _codes(packed: Any) -> Any:
    """Codes [padded O, padded K] out of their blocks."""
    xp = namespace(packed.codes)
    blocks, groups, _ = packed.codes.shape
    if packed.bits == 8:
        quads = xp.reshape(packed.codes, (blocks, groups, 8, 16, 4))
    else:
        pairs = xp.reshape(packed.codes, (blocks, groups, 4, 1, 16, 4))
        quads = xp.concat([pairs & 15, pairs >> 4], axis=3)
        quads = xp.reshape(quads, (blocks, groups, 8, 16, 4))
    return xp.reshape(xp.moveaxis(quads, 3, 1), (blocks * 16, groups * 32))


def _spread(scales: Any, group: int, dtype: Any) -> Any:
    """Scales [blocks, groups, lane] repeated for every weight: [padded O, padded K]."""
    xp = namespace(scales)
    scales_OG = xp.moveaxis(xp.asarray(scales, dtype=dtype), 2, 1)
    scales_OG1 = xp.reshape(scales_OG, (-1, scales.shape[1], 1))
    spread = xp.broadcast_to(scales_OG1, (*scales_OG1.shape[:2], group))
    return xp.reshape(spread, (scales_OG1.shape[0], -1))
