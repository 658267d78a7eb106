"""The meaning of kv_store, for any array-API namespace."""

from __future__ import annotations

from typing import Any

from redline.errors import KernelError


def kv_store(k_THD: Any, v_THD: Any, k_cache: Any, v_cache: Any, slots_T: Any) -> None:
    num_blocks, _, block_size, _ = k_cache.shape
    for t in range(slots_T.shape[0]):
        slot = int(slots_T[t])
        if slot >= num_blocks * block_size:
            raise KernelError(f"kv_store: slot {slot} is beyond the cache of {num_blocks} x {block_size}")
        if slot >= 0:
            k_cache[slot // block_size, :, slot % block_size] = k_THD[t]
            v_cache[slot // block_size, :, slot % block_size] = v_THD[t]
