"""naive_attention for any array-API namespace."""

from __future__ import annotations

from typing import Any

from redline.ops.array_api import namespace
from redline.ops.attention.reference import gather
from redline.ops.kv_store.decode import read_keys, read_values
from redline.ops.kv_store.layout import block_size_of


def naive_attention(  # noqa: PLR0913 - the operands of the op
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
        context, blocks_B = int(context_lens_S[s]), block_tables_SB[s]
        k_HCD = gather(xp, read_keys, k_cache, block_size, blocks_B, context, q_THD)
        v_HCD = gather(xp, read_values, v_cache, block_size, blocks_B, context, q_THD)
        hidden_TC = _hidden(xp, end - begin, context, window)
        o_THD[begin:end] = _attend(xp, q_THD[begin:end], k_HCD, v_HCD, hidden_TC, scale, soft_cap)
    return o_THD


def _hidden(xp: Any, num_queries: int, context: int, window: int) -> Any:
    """Which keys a query does not see: [queries, context] booleans. The last query is the last token."""
    positions_T1 = xp.arange(context - num_queries, context)[:, None]
    keys_1C = xp.arange(context)[None]
    hidden_TC = keys_1C > positions_T1
    return hidden_TC | (keys_1C <= positions_T1 - window) if window else hidden_TC


def _attend(
    xp: Any, q_THD: Any, k_HCD: Any, v_HCD: Any, hidden_TC: Any, scale: float, soft_cap: float
) -> Any:
    """One sequence; its heads are cut into groups that share keys and values."""
    num_queries, num_heads, dim = q_THD.shape
    kv_heads = k_HCD.shape[0]
    q_KGTD = xp.reshape(xp.moveaxis(q_THD, 0, 1), (kv_heads, num_heads // kv_heads, num_queries, dim))
    scores_KGTC = (q_KGTD @ xp.moveaxis(k_HCD, 1, 2)[:, None]) * scale
    if soft_cap:
        scores_KGTC = soft_cap * xp.tanh(scores_KGTC / soft_cap)
    scores_KGTC[..., hidden_TC] = -xp.inf
    weights_KGTC = xp.exp(scores_KGTC - xp.amax(scores_KGTC, -1)[..., None])
    weights_KGTC = weights_KGTC / xp.sum(weights_KGTC, -1)[..., None]
    o_HTD = xp.reshape(weights_KGTC @ v_HCD[:, None], (num_heads, num_queries, dim))
    return xp.moveaxis(o_HTD, 0, 1)
