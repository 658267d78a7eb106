"""Attention over new tokens and the cache: rope, kv_store and attention in one op.

rope_attention(q_THD, k_THD, v_THD, cos_PR, sin_PR, positions_T, interleaved, slots_T, k_cache, v_cache,
               block_tables_SB, query_start_S1, context_lens_S, scale, window, soft_cap) -> o_THD

    q, k = rope(q, cos, sin, positions, interleaved), rope(k, cos, sin, positions, interleaved)
    kv_store(k, v, k_cache, v_cache, slots)
    o = attention(q, k_cache, v_cache, block_tables, query_start, context_lens, scale, window, soft_cap)

with the same bits. In a decode, whoever attends to a sequence also stores its token: that touches each cache
line once, where two ops would move it between cores, and spares two of three hand-overs between threads. So
what a sequence of one token stores must not be read by another sequence of the call. Rows that no sequence
owns have no defined result. Raises KernelError as the three ops do.
"""
