"""naive_attention on NumPy arrays, by NumPy: a baseline, so there is no kernel."""

from __future__ import annotations

from redline.ops.arrays import F32, I32, Array
from redline.ops.attention.cpu import bad_sequence, check_attention
from redline.ops.kv_store.layout import block_size_of
from redline.ops.naive_attention import reference


def naive_attention(  # noqa: PLR0913 - the operands of the op
    q_THD: F32,
    k_cache: Array,
    v_cache: Array,
    block_tables_SB: I32,
    query_start_S1: I32,
    context_lens_S: I32,
    scale: float,
    window: int,
    soft_cap: float,
) -> F32:
    check_attention(
        q_THD, k_cache, v_cache, block_tables_SB, query_start_S1, context_lens_S, window, soft_cap
    )
    indices = (block_tables_SB, query_start_S1, context_lens_S)
    for s in range(len(context_lens_S)):
        if not _fits(s, q_THD, k_cache, v_cache, *indices):
            raise bad_sequence(s, q_THD, k_cache, *indices)
    o_THD: F32 = reference.naive_attention(q_THD, k_cache, v_cache, *indices, scale, window, soft_cap)
    return o_THD


def _fits(
    s: int,
    q_THD: F32,
    k_cache: Array,
    v_cache: Array,
    block_tables_SB: I32,
    query_start_S1: I32,
    context_lens_S: I32,
) -> bool:
    """Whether the context holds the queries and fits the blocks, all of which exist."""
    begin, end, context = int(query_start_S1[s]), int(query_start_S1[s + 1]), int(context_lens_S[s])
    block_size = block_size_of(k_cache, v_cache, q_THD.shape[2])
    blocks_B = block_tables_SB[s, : -(-context // block_size)]
    if (
        not 0 <= begin <= end <= len(q_THD)
        or not end - begin <= context <= block_tables_SB.shape[1] * block_size
    ):
        return False
    return not len(blocks_B) or bool(blocks_B.min() >= 0 and blocks_B.max() < len(k_cache))
