"""Causal attention over a paged K/V cache.

attention(q_THD, k_cache, v_cache, block_tables_SB, query_start_S1, context_lens_S, scale, window, soft_cap)
    -> o_THD

Sequence s owns the query rows query_start[s]:query_start[s+1]; the last of them stands at position
context_lens[s] - 1. Position j of the sequence is in block block_tables[s, j // block_size] of the caches,
which redline/ops/kv_store/layout.py describes, at offset j % block_size. Blocks whose size is a multiple
of 16 are read in place, others are copied tile by tile.

    for each query row t, at position i of sequence s, and each head h:
        keys = those j with i - window < j <= i       (window 0: all j <= i)
        score[j] = q[t, h] . k[j, h // (H / num_kv_heads)] * scale
        score[j] = soft_cap * tanh(score[j] / soft_cap)         (soft_cap 0: off)
        o[t, h] = sum over j of softmax(score)[j] * v[j, h // (H / num_kv_heads)]

q is float32 and may be a view with any stride between tokens; index arrays are int32; o is new and dense.
With an int8 cache the kernels take products in integers: q[t, h], and the weights of 64 keys times the
scales of their values, are rounded to 16 bits of the largest among them.
Rows that no sequence owns are not written. A row's bits depend only on its query, its position and the
keys and values it sees.
Raises KernelError when shapes disagree or a length or block is out of bounds.

Methods: online softmax (Milakov & Gimelshein, 2018), tiling (Dao et al., FlashAttention, 2022), splitting the
keys of long contexts (Dao et al., Flash-Decoding, 2023), paging (Kwon et al., PagedAttention, 2023), shared
heads (Shazeer, MQA, 2019; Ainslie et al., GQA, 2023).
"""
