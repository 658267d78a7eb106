"""kv_store on NumPy arrays by csrc/cpu/kv_store.cpp."""

from __future__ import annotations

from redline import _kernels
from redline.errors import KernelError
from redline.ops.arrays import F32, I32, Array


def kv_store(k_THD: F32, v_THD: F32, k_cache: Array, v_cache: Array, slots_T: I32) -> None:
    tokens, heads, dim = k_THD.shape
    blocks, cache_heads, block_size, cache_dim = k_cache.shape
    if (
        k_THD.shape != v_THD.shape
        or k_cache.shape != v_cache.shape
        or k_cache.dtype != v_cache.dtype
        or (heads, dim, tokens) != (cache_heads, cache_dim, slots_T.shape[0])
    ):
        raise KernelError(
            f"kv_store: k {k_THD.shape}, v {v_THD.shape}, slots {slots_T.shape} do not fit caches "
            f"{k_cache.shape} {k_cache.dtype} and {v_cache.shape} {v_cache.dtype}; they must be [T, H, D], "
            "[T, H, D], [T] and two of [blocks, H, block_size, D] of one dtype"
        )
    bad = _kernels.kv_store(k_THD, v_THD, k_cache, v_cache, slots_T)
    if bad >= 0:
        raise KernelError(f"kv_store: slot {slots_T[bad]} is beyond the cache of {blocks} x {block_size}")
