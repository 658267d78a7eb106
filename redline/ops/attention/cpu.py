"""attention on NumPy arrays by csrc/cpu/attention.cpp."""

from __future__ import annotations

from redline import _kernels
from redline.errors import KernelError
from redline.ops.arrays import F32, I32, Array
from redline.ops.kv_store.layout import LAYOUT, block_size_of, kernel_operands
from redline.ops.recording import new_array


def check_attention(
    q_THD: F32,
    k_cache: Array,
    v_cache: Array,
    block_tables_SB: I32,
    query_start_S1: I32,
    context_lens_S: I32,
    window: int,
    soft_cap: float,
) -> None:
    heads, dim = q_THD.shape[1:]
    if (
        block_size_of(k_cache, v_cache, dim) < 1
        or heads % k_cache.shape[1]
        or not len(block_tables_SB) == len(query_start_S1) - 1 == len(context_lens_S)
        or window < 0
        or soft_cap < 0
    ):
        raise KernelError(
            f"attention: q is {q_THD.shape}, caches {k_cache.shape} {k_cache.dtype} and {v_cache.shape} "
            f"{v_cache.dtype}, block tables {block_tables_SB.shape}, query_start {query_start_S1.shape}, "
            f"context_lens {context_lens_S.shape}, {window = }, {soft_cap = }; they must be [T, H, D], "
            f"{LAYOUT} of H / group heads, [S, B], [S + 1], [S], and not negative"
        )


def bad_sequence(
    s: int, q_THD: F32, k_cache: Array, block_tables_SB: I32, query_start_S1: I32, context_lens_S: I32
) -> KernelError:
    return KernelError(
        f"attention: sequence {s} has query rows {query_start_S1[s]}:{query_start_S1[s + 1]} "
        f"of {len(q_THD)}, context {context_lens_S[s]} and blocks {block_tables_SB[s].tolist()}; the "
        f"context must hold the queries and fit the blocks, and each block must be below {len(k_cache)}"
    )


def attention(  # noqa: PLR0913 - the operands of the op
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
    o_THD = new_array(q_THD.shape)
    bad = _kernels.attention(
        q_THD,
        *kernel_operands(k_cache, v_cache, q_THD.shape[2]),
        block_tables_SB,
        query_start_S1,
        context_lens_S,
        scale,
        window,
        soft_cap,
        o_THD,
    )
    if bad >= 0:
        raise bad_sequence(bad, q_THD, k_cache, block_tables_SB, query_start_S1, context_lens_S)
    return o_THD
