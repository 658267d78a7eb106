"""What a K/V cache holds, as numbers, for any array-API namespace."""

from __future__ import annotations

import math
from typing import Any

from redline.ops.kv_store.layout import GROUP, format_of, key_places, row_bytes, value_places


def split_codes(xp: Any, cache: Any, head_dim: int) -> tuple[Any, Any]:
    """The codes [..., bytes] and scales [..., groups, block_size] of a cache with scales, as copies."""
    kv_format = format_of(cache)
    block_size = cache.shape[-1] // row_bytes(kv_format, head_dim)
    groups = head_dim // GROUP if kv_format == "int4" else 1
    end = block_size * (head_dim // 2 if kv_format == "int4" else head_dim)
    scales = xp.asarray(cache[..., end:], copy=True).view(xp.float16 if kv_format == "int4" else xp.float32)
    return cache[..., :end], xp.reshape(scales, (*cache.shape[:-1], groups, block_size))


def read_keys(xp: Any, cache: Any, head_dim: int, dtype: Any) -> Any:
    """Keys [blocks, H, block_size, D] as numbers of `dtype`, those of int4 rotated back."""
    if not row_bytes(format_of(cache), head_dim):
        return xp.asarray(xp.moveaxis(cache, 2, 3), dtype=dtype)
    return _decode(xp, *_rows(xp, cache, head_dim, key_places), dtype)


def read_values(xp: Any, cache: Any, head_dim: int, dtype: Any) -> Any:
    """Values [blocks, H, block_size, D] as numbers of `dtype`, those of int4 rotated back."""
    if not row_bytes(format_of(cache), head_dim):
        return xp.asarray(cache, dtype=dtype)
    return _decode(xp, *_rows(xp, cache, head_dim, value_places), dtype)


def _rows(xp: Any, cache: Any, head_dim: int, places: Any) -> tuple[Any, Any]:
    """The codes of each token, [blocks, H, block_size, codes], and split_codes()' scales."""
    codes, scales_BHGS = split_codes(xp, cache, head_dim)
    block_size = scales_BHGS.shape[3]
    of_token_SE = places(format_of(cache), block_size, codes.shape[-1] // block_size)
    return codes[..., xp.asarray(of_token_SE)], scales_BHGS


def _decode(xp: Any, codes_BHSE: Any, scales_BHGS: Any, dtype: Any) -> Any:
    scales_BHSG = xp.moveaxis(xp.asarray(scales_BHGS, dtype=dtype), 2, 3)
    if format_of(codes_BHSE) != "int4":
        return xp.asarray(codes_BHSE, dtype=dtype) * scales_BHSG
    pairs_BHSGE = xp.reshape(codes_BHSE, (*scales_BHSG.shape, GROUP // 2))
    codes_BHSGD = xp.concat([pairs_BHSGE & 15, pairs_BHSGE >> 4], -1)
    numbers_BHSGD = (xp.asarray(codes_BHSGD, dtype=dtype) - 8) * scales_BHSG[..., None]
    return hadamard(xp, xp.reshape(numbers_BHSGD, (*codes_BHSE.shape[:3], -1)))


def hadamard(xp: Any, x: Any) -> Any:
    """The Walsh-Hadamard transform of csrc/cpu/hadamard.h along the last axis, with its order of sums."""
    dim = x.shape[-1]
    size, half = dim & -dim, 1
    while half < size:
        pairs = xp.reshape(x, (*x.shape[:-1], dim // (2 * half), 2, half))
        first, second = pairs[..., 0, :], pairs[..., 1, :]
        x = xp.reshape(xp.stack([first + second, first - second], -2), x.shape)
        half *= 2
    return x * xp.asarray(1 / math.sqrt(size), dtype=x.dtype)
