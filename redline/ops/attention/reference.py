"""The meaning of attention, for any array-API namespace."""

from __future__ import annotations

from typing import Any

from redline.ops.array_api import namespace
from redline.ops.kv_store.decode import read_keys, read_values
from redline.ops.kv_store.layout import block_size_of


def attention(  # noqa: PLR0913 - the operands of the op
    q_THD: Any,
    k_cache: Any,
    v_cache: Any,
    block_tables_SB: Any,
    query_start_S1: Any,
    context_lens_S: Any,
    scale: float,
    window: int,
    soft_cap: float,
) -> Any:
    xp = namespace(q_THD)
    block_size = block_size_of(k_cache, v_cache, q_THD.shape[2])
    o_THD = xp.zeros_like(q_THD)
    for s in range(context_lens_S.shape[0]):
        begin, end = int(query_start_S1[s]), int(query_start_S1[s + 1])
        context = int(context_lens_S[s])
        k_HCD = gather(xp, read_keys, k_cache, block_size, block_tables_SB[s], context, q_THD)
        v_HCD = gather(xp, read_values, v_cache, block_size, block_tables_SB[s], context, q_THD)
        for t in range(begin, end):
            last = context - end + t
            first = max(0, last + 1 - window) if window else 0
            keys = slice(first, last + 1)
            o_THD[t] = _one_row(xp, q_THD[t], k_HCD[:, keys], v_HCD[:, keys], scale, soft_cap)
    return o_THD


def gather(
    xp: Any, read: Any, cache: Any, block_size: int, blocks_B: Any, context: int, like_THD: Any
) -> Any:
    """The first `context` keys or values of a sequence, [Hkv, context, D], in the dtype of `like_THD`."""
    dim = like_THD.shape[2]
    used_BHSD = read(xp, cache[blocks_B[: -(-context // block_size)]], dim, like_THD.dtype)
    return xp.reshape(xp.moveaxis(used_BHSD, 1, 0), (used_BHSD.shape[1], -1, dim))[:, :context]


def _one_row(xp: Any, q_HD: Any, k_HCD: Any, v_HCD: Any, scale: float, soft_cap: float) -> Any:
    kv_heads = k_HCD.shape[0]
    q_HGD = xp.reshape(q_HD, (kv_heads, -1, q_HD.shape[-1]))
    scores_HGC = (q_HGD @ xp.moveaxis(k_HCD, 1, 2)) * scale
    if soft_cap:
        scores_HGC = soft_cap * xp.tanh(scores_HGC / soft_cap)
    weights_HGC = xp.exp(scores_HGC - xp.amax(scores_HGC, -1)[..., None])
    weights_HGC = weights_HGC / xp.sum(weights_HGC, -1)[..., None]
    return xp.reshape(weights_HGC @ v_HCD, q_HD.shape)
