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
    weight_OK = weight_OK * _spread(_scales(packed, packed.scales), packed.group, dtype)
    if packed.mins is not None:
        weight_OK = weight_OK + _spread(_scales(packed, packed.mins), packed.group, dtype)
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
    low = 2 if packed.bits < 4 else 4 if packed.bits < 8 else 8
    codes = _section(packed.codes, 0, low)
    if packed.bits > low:
        codes = codes | _section(packed.codes, low, packed.bits - low) << low
    if packed.codebook is not None:
        indices = xp.reshape(codes, (-1,))
        codes = xp.reshape(xp.take(packed.codebook, xp.asarray(indices, dtype=xp.int64)), codes.shape)
    return xp.reshape(xp.moveaxis(codes, 3, 1), (blocks * 16, groups * 32))


def _section(cells: Any, first: int, width: int) -> Any:
    """Fields [blocks, groups, quad, lane, 4] of `width` bits, from bit plane `first` of the cells on."""
    xp = namespace(cells)
    blocks, groups, _ = cells.shape
    section = cells[:, :, 64 * first : 64 * (first + width)]
    vectors = xp.reshape(section, (blocks, groups, width, 1, 16, 4))
    fields = [vectors >> shift & (1 << width) - 1 for shift in range(0, 8, width)]
    return xp.reshape(xp.concat(fields, axis=3), (blocks, groups, 8, 16, 4))


def _scales(packed: Any, scales: Any) -> Any:
    """Scales or mins as floats [blocks, groups, lane]."""
    if packed.scale_format in ("f32", "f16"):
        return scales
    xp = namespace(scales)
    blocks, supers, _ = scales.shape
    d_BS1L = xp.asarray(
        xp.reshape(scales[:, :, :32].view(xp.float16), (blocks, supers, 1, 16)), dtype=xp.float32
    )
    factors = scales[:, :, 32:]
    if packed.scale_format == "nested4":
        pairs = xp.reshape(factors, (blocks, supers, -1, 1, 16))
        factors = xp.concat([pairs & 15, pairs >> 4], axis=3)
    else:
        factors = factors.view(xp.int8)
    factors_BSGL = xp.asarray(xp.reshape(factors, (blocks, supers, -1, 16)), dtype=xp.float32)
    return xp.reshape(d_BS1L * factors_BSGL, (blocks, -1, 16))


def _spread(scales: Any, group: int, dtype: Any) -> Any:
    """Scales [blocks, groups, lane] repeated for every weight: [padded O, padded K]."""
    xp = namespace(scales)
    scales_OG = xp.moveaxis(xp.asarray(scales, dtype=dtype), 2, 1)
    scales_OG1 = xp.reshape(scales_OG, (-1, scales.shape[1], 1))
    spread = xp.broadcast_to(scales_OG1, (*scales_OG1.shape[:2], group))
    return xp.reshape(spread, (scales_OG1.shape[0], -1))
