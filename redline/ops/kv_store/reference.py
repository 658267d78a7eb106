"""The meaning of kv_store, for any array-API namespace."""

from __future__ import annotations

from typing import Any

from redline.errors import KernelError
from redline.ops.array_api import namespace
from redline.ops.kv_store.decode import hadamard
from redline.ops.kv_store.layout import (
    GROUP,
    block_size_of,
    format_of,
    key_places,
    row_bytes,
    value_places,
)

LARGEST = {"f16": 65_504.0, "bf16": 3.3895313892515355e38}
LARGEST_OF_SCALED = LARGEST["f16"]
LARGEST_CODE = {"int8": 127.0, "fp8": 448.0}


def kv_store(k_THD: Any, v_THD: Any, k_cache: Any, v_cache: Any, slots_T: Any) -> None:
    xp = namespace(k_THD)
    num_blocks = k_cache.shape[0]
    block_size = block_size_of(k_cache, v_cache, k_THD.shape[2])
    for t in range(slots_T.shape[0]):
        slot = int(slots_T[t])
        if slot >= num_blocks * block_size:
            raise KernelError(f"kv_store: slot {slot} is beyond the cache of {num_blocks} x {block_size}")
        if slot < 0:
            continue
        block, offset = divmod(slot, block_size)
        if row_bytes(format_of(k_cache), k_THD.shape[2]):
            _put_codes(xp, k_THD[t], k_cache[block], offset, block_size, key_places)
            _put_codes(xp, v_THD[t], v_cache[block], offset, block_size, value_places)
        else:
            k_cache[block, :, :, offset] = _saturate(xp, k_THD[t], k_cache)
            v_cache[block, :, offset] = _saturate(xp, v_THD[t], v_cache)


def _saturate(xp: Any, x: Any, cache: Any) -> Any:
    largest = LARGEST.get(format_of(cache))
    return x if largest is None else xp.asarray(xp.clip(x, -largest, largest), dtype=cache.dtype)


def _put_codes(xp: Any, x_HD: Any, block: Any, offset: int, block_size: int, places: Any) -> None:
    """`block` is [H, bytes]."""
    kv_format = format_of(block)
    x_HD = xp.clip(x_HD, -LARGEST_OF_SCALED, LARGEST_OF_SCALED)
    encode = _encode_int4 if kv_format == "int4" else _encode_row
    codes_HE, scales_HG = encode(xp, x_HD, block)
    heads, size = codes_HE.shape
    block[:, xp.asarray(places(kv_format, block_size, size)[offset])] = codes_HE
    as_bytes = xp.reshape(scales_HG, (heads, -1, 1)).view(block.dtype)  # [H, G, bytes of a scale]
    for group in range(as_bytes.shape[1]):
        at = block_size * size + (group * block_size + offset) * as_bytes.shape[2]
        block[:, at : at + as_bytes.shape[2]] = as_bytes[:, group]


def _encode_row(xp: Any, x_HD: Any, block: Any) -> tuple[Any, Any]:
    """int8 and fp8: codes [H, D] and scales [H, 1]."""
    kv_format = format_of(block)
    largest = LARGEST_CODE[kv_format]
    scale_H1 = xp.amax(xp.abs(x_HD), -1)[:, None] / largest
    usable_H1 = scale_H1 > 0  # neither zero nor NaN
    codes_HD = x_HD / xp.where(usable_H1, scale_H1, xp.ones_like(scale_H1))
    if kv_format == "int8":
        codes_HD = xp.round(codes_HD)
    codes_HD = xp.where(usable_H1, xp.clip(codes_HD, -largest, largest), xp.zeros_like(codes_HD))
    return xp.asarray(codes_HD, dtype=block.dtype), xp.asarray(scale_H1, dtype=xp.float32)


def _encode_int4(xp: Any, x_HD: Any, block: Any) -> tuple[Any, Any]:
    """Bytes [H, D / 2] of two codes and scales [H, D / 32], of the rotated rows."""
    x_HGD = xp.reshape(hadamard(xp, x_HD), (x_HD.shape[0], -1, GROUP))
    high_HG, low_HG = xp.amax(x_HGD, -1), xp.amin(x_HGD, -1)
    scale_HG = xp.where(high_HG > -low_HG, high_HG, low_HG) / -8
    scale_HG = xp.asarray(xp.clip(scale_HG, -LARGEST_OF_SCALED, LARGEST_OF_SCALED) + 0.0, dtype=xp.float16)
    usable_HG = (scale_HG < 0) | (scale_HG > 0)  # neither zero nor NaN
    used_HG = xp.asarray(xp.where(usable_HG, scale_HG, xp.ones_like(scale_HG)), dtype=x_HD.dtype)
    codes_HGD = xp.clip(xp.round(x_HGD / used_HG[..., None]), -8, 7)
    codes_HGD = xp.where(usable_HG[..., None], codes_HGD, xp.zeros_like(codes_HGD)) + 8
    codes_HGD = xp.asarray(codes_HGD, dtype=block.dtype)
    pairs_HGE = codes_HGD[..., : GROUP // 2] | codes_HGD[..., GROUP // 2 :] << 4
    return xp.reshape(pairs_HGE, (x_HD.shape[0], -1)), scale_HG
