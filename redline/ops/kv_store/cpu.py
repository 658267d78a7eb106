"""kv_store on NumPy arrays by csrc/cpu/kv_store.cpp."""

from __future__ import annotations

from redline import _kernels
from redline.errors import KernelError
from redline.ops.arrays import F32, I32, Array
from redline.ops.kv_store.layout import LAYOUT, block_size_of, kernel_operands


def check_store(k_THD: F32, v_THD: F32, k_cache: Array, v_cache: Array, slots_T: I32) -> None:
    tokens, heads, dim = k_THD.shape
    block_size = block_size_of(k_cache, v_cache, dim)
    if (
        k_THD.shape != v_THD.shape
        or block_size < 1
        or (heads, tokens) != (k_cache.shape[1], slots_T.shape[0])
    ):
        raise KernelError(
            f"kv_store: k {k_THD.shape}, v {v_THD.shape}, slots {slots_T.shape} do not fit caches "
            f"{k_cache.shape} {k_cache.dtype} and {v_cache.shape} {v_cache.dtype}; they must be [T, H, D], "
            f"[T, H, D], [T] and {LAYOUT} of H heads"
        )


def bad_slot(slots_T: I32, index: int, k_cache: Array, v_cache: Array, dim: int) -> KernelError:
    block_size = block_size_of(k_cache, v_cache, dim)
    return KernelError(
        f"kv_store: slot {slots_T[index]} is beyond the cache of {len(k_cache)} x {block_size}"
    )


def kv_store(k_THD: F32, v_THD: F32, k_cache: Array, v_cache: Array, slots_T: I32) -> None:
    check_store(k_THD, v_THD, k_cache, v_cache, slots_T)
    caches = kernel_operands(k_cache, v_cache, k_THD.shape[2])
    bad = _kernels.kv_store(k_THD, v_THD, *caches, slots_T)
    if bad >= 0:
        raise bad_slot(slots_T, bad, k_cache, v_cache, k_THD.shape[2])
