"""How one layer's K/V cache lies in memory, by format, for whoever makes, writes or reads one.

f32, f16: keys [blocks, H, D, block_size], values [blocks, H, block_size, D]. Keys are turned inside a block,
so that one dimension of adjacent keys is one vector of the kernel, which then sums no vector across.
int8: both [blocks, H, block_size * (D + 4)] bytes: the codes in the order above, then block_size float32
scales, one per token. A block is one piece of memory in every format: to copy it needs no second array.
"""

from __future__ import annotations

from typing import Any

DTYPES = {"f32": "float32", "f16": "float16", "int8": "int8"}  # K/V format -> dtype of its arrays
SCALE_BYTES = 4
LAYOUT = (
    "a pair of float32 or float16 [blocks, heads, D, block_size] and [blocks, heads, block_size, D], "
    "or of int8 [blocks, heads, block_size * (D + 4)],"
)


def cache_shapes(
    kv_format: str, num_blocks: int, num_kv_heads: int, block_size: int, head_dim: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shapes of the keys and of the values."""
    if kv_format == "int8":
        shape = (num_blocks, num_kv_heads, block_size * (head_dim + SCALE_BYTES))
        return shape, shape
    return (num_blocks, num_kv_heads, head_dim, block_size), (num_blocks, num_kv_heads, block_size, head_dim)


def block_size_of(k_cache: Any, v_cache: Any, head_dim: int) -> int:
    """Tokens of a block, or 0 when the two do not fit each other or the head."""
    if k_cache.dtype != v_cache.dtype or len(k_cache.shape) != len(v_cache.shape):
        return 0
    if is_int8(k_cache):
        block_size, rest = divmod(k_cache.shape[-1], head_dim + SCALE_BYTES)
        return block_size if k_cache.shape == v_cache.shape and len(k_cache.shape) == 3 and not rest else 0
    if len(k_cache.shape) != 4:
        return 0
    blocks, heads, block_size, dim = v_cache.shape
    return block_size if dim == head_dim and k_cache.shape == (blocks, heads, dim, block_size) else 0


def is_int8(cache: Any) -> bool:
    return str(cache.dtype).endswith("int8")


def split_codes(xp: Any, cache: Any, head_dim: int) -> tuple[Any, Any]:
    """The codes [..., block_size * D] and scales [..., block_size] of an int8 cache, as copies."""
    end = cache.shape[-1] // (head_dim + SCALE_BYTES) * head_dim
    return cache[..., :end], xp.asarray(cache[..., end:], copy=True).view(xp.float32)


def read_keys(xp: Any, cache: Any, head_dim: int, dtype: Any) -> Any:
    """Keys [blocks, H, block_size, D] as numbers of `dtype`."""
    if not is_int8(cache):
        return xp.asarray(xp.moveaxis(cache, 2, 3), dtype=dtype)
    codes, scales_BHS = split_codes(xp, cache, head_dim)
    codes_BHDS = xp.reshape(codes, (*scales_BHS.shape[:2], head_dim, scales_BHS.shape[2]))
    return xp.moveaxis(xp.asarray(codes_BHDS, dtype=dtype) * scales_BHS[:, :, None, :], 2, 3)


def read_values(xp: Any, cache: Any, head_dim: int, dtype: Any) -> Any:
    """Values [blocks, H, block_size, D] as numbers of `dtype`."""
    if not is_int8(cache):
        return xp.asarray(cache, dtype=dtype)
    codes, scales_BHS = split_codes(xp, cache, head_dim)
    codes_BHSD = xp.reshape(codes, (*scales_BHS.shape, head_dim))
    return xp.asarray(codes_BHSD, dtype=dtype) * scales_BHS[..., None]
