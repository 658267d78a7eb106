"""The meaning of kv_store, for any array-API namespace."""

from __future__ import annotations

from typing import Any

from redline.errors import KernelError
from redline.ops.array_api import namespace
from redline.ops.kv_store.layout import SCALE_BYTES, block_size_of, is_int8

LARGEST = 65_504.0  # of float16


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
        if is_int8(k_cache):
            _put_int8(xp, k_THD[t], k_cache[block], offset, block_size, turned=True)
            _put_int8(xp, v_THD[t], v_cache[block], offset, block_size, turned=False)
        else:
            k_cache[block, :, :, offset] = _saturate(xp, k_THD[t], k_cache)
            v_cache[block, :, offset] = _saturate(xp, v_THD[t], v_cache)


def _saturate(xp: Any, x: Any, cache: Any) -> Any:
    return xp.clip(x, -LARGEST, LARGEST) if str(cache.dtype).endswith("float16") else x


def _put_int8(xp: Any, x_HD: Any, block: Any, offset: int, block_size: int, *, turned: bool) -> None:
    """`block` is [H, block_size * (D + 4)]."""
    heads, dim = x_HD.shape
    x_HD = xp.clip(x_HD, -LARGEST, LARGEST)
    scale_H = xp.amax(xp.abs(x_HD), -1) / 127
    usable_H = scale_H > 0  # neither zero nor NaN
    codes_HD = xp.round(x_HD / xp.where(usable_H, scale_H, xp.ones_like(scale_H))[:, None])
    codes_HD = xp.where(usable_H[:, None], xp.clip(codes_HD, -127, 127), xp.zeros_like(codes_HD))
    first, step = (offset, block_size) if turned else (offset * dim, 1)
    block[:, first : first + (dim - 1) * step + 1 : step] = xp.asarray(codes_HD, dtype=xp.int8)
    scales = block_size * dim + offset * SCALE_BYTES
    as_bytes = xp.reshape(xp.asarray(scale_H, dtype=xp.float32), (heads, 1)).view(xp.int8)
    block[:, scales : scales + SCALE_BYTES] = as_bytes
