"""Write keys and values into a paged cache (Kwon et al., PagedAttention, 2023).

kv_store(k_THD, v_THD, k_cache, v_cache, slots_T) -> None

    for t in range(T):
        if slots[t] >= 0:
            block, offset = divmod(slots[t], block_size)
            k_cache[block, :, offset], v_cache[block, :, offset] = k[t], v[t]

k and v are float32 and may be views with any stride between tokens. The caches are dense,
[num_blocks, H, block_size, D], float32 or float16 (rounded to nearest even, too large becomes infinity).
slots are int32 and distinct. Raises KernelError when shapes disagree or a slot is beyond the cache.
"""
