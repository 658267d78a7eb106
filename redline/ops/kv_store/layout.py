"""How one layer's K/V cache lies in memory, by format, for whoever makes, writes or reads one.

f32, f16, bf16: keys [blocks, H, D, block_size], values [blocks, H, block_size, D]. Keys are turned inside a
block, so that one dimension of adjacent keys is one vector of the kernel, which then sums no vector across.
fp8: both [blocks, H, block_size * (D + 4)] bytes: the codes in the order above, then block_size float32
scales, one per token.
int8: the same with the codes in quads, the bytes that one instruction multiplies and sums: of keys
[D / 4, block_size, 4], of values [block_size / 4, D, 4]. Where four do not divide D or block_size, the last
quad has fewer.
int4: both [blocks, H, block_size * D * 9 / 16] bytes; D is a multiple of 32. Of each group of 32 dimensions,
byte i has dimension i in its low and i + 16 in its high half, and takes the place of one dimension in the
order above; then float16 scales [D / 32, block_size].
A block is one piece of memory in every format: to copy it needs no second array.
"""

from __future__ import annotations

from functools import cache as memory
from typing import Any

from redline.errors import ConfigError

# K/V format -> dtype of its arrays, no two the same. The order is that of CacheType in csrc/kernels.h.
DTYPES = {
    "f32": "float32",
    "f16": "float16",
    "bf16": "bfloat16",
    "int8": "int8",
    "fp8": "float8_e4m3fn",
    "int4": "uint8",
}
FORMATS = {dtype: kv_format for kv_format, dtype in DTYPES.items()}
NUMBERS = {kv_format: number for number, kv_format in enumerate(DTYPES)}
QUAD = 4  # dimensions of an int8 key, and tokens of int8 values, that lie side by side
SCALE_BYTES = 4  # of one row of int8 and fp8
GROUP = 32  # dimensions of int4 that share a scale
LAYOUT = (
    "a pair of float32, float16 or bfloat16 [blocks, heads, D, block_size] and "
    "[blocks, heads, block_size, D], of int8 or float8_e4m3fn [blocks, heads, block_size * (D + 4)], "
    "or of uint8 (int4 codes) [blocks, heads, block_size * D * 9 / 16],"
)


def formats_for(head_dim: int) -> list[str]:
    """The formats that can hold a head of this size."""
    return [kv_format for kv_format in DTYPES if kv_format != "int4" or head_dim % GROUP == 0]


def cache_shapes(
    kv_format: str, num_blocks: int, num_kv_heads: int, block_size: int, head_dim: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shapes of the keys and of the values. Raises ConfigError for int4 and an unsuitable head."""
    if kv_format == "int4" and head_dim % GROUP:
        raise ConfigError(
            f"kv_format is {kv_format!r}, which takes heads of a multiple of {GROUP} dimensions; "
            f"this model's have {head_dim}; choose one of {', '.join(formats_for(head_dim))}"
        )
    per_token = row_bytes(kv_format, head_dim)
    if per_token:
        shape = (num_blocks, num_kv_heads, block_size * per_token)
        return shape, shape
    return (num_blocks, num_kv_heads, head_dim, block_size), (num_blocks, num_kv_heads, block_size, head_dim)


def row_bytes(kv_format: str, head_dim: int) -> int:
    """Bytes of one key with its scales, or 0 for a format without."""
    if kv_format in ("int8", "fp8"):
        return head_dim + SCALE_BYTES
    return head_dim // 2 + 2 * (head_dim // GROUP) if kv_format == "int4" else 0


@memory
def key_places(kv_format: str, block_size: int, row: int) -> list[list[int]]:
    """Where code e of the key of token t is among those of a block: [t][e], of `row` codes per token."""
    return [[_place(kv_format, e, t, row, block_size) for e in range(row)] for t in range(block_size)]


@memory
def value_places(kv_format: str, block_size: int, row: int) -> list[list[int]]:
    """Where code e of the value of token t is among those of a block: [t][e], of `row` codes per token."""
    return [[_place(kv_format, t, e, block_size, row) for e in range(row)] for t in range(block_size)]


def _place(kv_format: str, i: int, j: int, rows: int, columns: int) -> int:
    """Of element (i, j) of a matrix, for int8 with its rows in quads."""
    quad = QUAD if kv_format == "int8" else 1
    first = i - i % quad
    return first * columns + j * min(quad, rows - first) + i - first


def format_of(cache: Any) -> str:
    """The format that an array is in, by its dtype; "" for none."""
    return _format_of(cache.dtype)


@memory
def _format_of(dtype: Any) -> str:
    return FORMATS.get(str(dtype).rpartition(".")[2], "")


def block_size_of(k_cache: Any, v_cache: Any, head_dim: int) -> int:
    """Tokens of a block, or 0 when the two do not fit each other or the head."""
    kv_format = format_of(k_cache)
    if k_cache.dtype != v_cache.dtype or len(k_cache.shape) != len(v_cache.shape):
        return 0
    if kv_format not in formats_for(head_dim):
        return 0
    if per_token := row_bytes(kv_format, head_dim):
        block_size, rest = divmod(k_cache.shape[-1], per_token)
        return block_size if k_cache.shape == v_cache.shape and len(k_cache.shape) == 3 and not rest else 0
    if len(k_cache.shape) != 4:
        return 0
    blocks, heads, block_size, dim = v_cache.shape
    return block_size if dim == head_dim and k_cache.shape == (blocks, heads, dim, block_size) else 0


def kernel_operands(k_cache: Any, v_cache: Any, head_dim: int) -> tuple[Any, Any, int, int]:
    """What the kernels take for the two caches, once they fit: bytes, number of the format, block size."""
    number = NUMBERS[format_of(k_cache)]
    return k_cache.view("uint8"), v_cache.view("uint8"), number, block_size_of(k_cache, v_cache, head_dim)
