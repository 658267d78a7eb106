"""Write keys and values into a paged cache (Kwon et al., PagedAttention, 2023).

kv_store(k_THD, v_THD, k_cache, v_cache, slots_T) -> None

    for t in range(T):
        if slots[t] >= 0:
            block, offset = divmod(slots[t], block_size)
            k_cache[block, :, :, offset], v_cache[block, :, offset] = k[t], v[t]

k and v are float32 and may be views with any stride between tokens. layout.py says what the caches are.
float16 rounds to nearest even; beyond 65,504 it saturates, because an infinity would turn a weight of zero
into NaN; NaN stays NaN. int8 (Dettmers et al., LLM.int8(), 2022, per token and head) keeps

    scale = max(abs(row)) / 127,  code = round to even(row / scale)

of each row of D, saturated as float16 is; a row with a NaN becomes NaN as a whole.
slots are int32 and distinct. Raises KernelError when shapes disagree or a slot is beyond the cache.
"""
