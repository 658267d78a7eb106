"""Attention as its formula is written down: softmax(q k^T) v, with the whole matrix of scores in memory.

naive_attention(q_THD, k_cache, v_cache, block_tables_SB, query_start_S1, context_lens_S, scale, window,
                soft_cap) -> o_THD

Operands and result are those of attention (redline/ops/attention). For each sequence keys and values are
gathered into dense float32 arrays, and scores [H, queries, context] are made, masked and normalised as
wholes. The baseline of tiling with a running maximum and sum (Dao et al., FlashAttention, 2022): memory and
traffic grow with queries times context. Equal to attention up to the rounding of float32. The library that
multiplies chooses the order of its sums by the shapes, so a row's bits depend on what shares its matrix.
Raises KernelError as attention does.
"""
