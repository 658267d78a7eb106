"""rope_attention on NumPy arrays by csrc/cpu/attention.cpp."""

from __future__ import annotations

from redline import _kernels
from redline.ops.arrays import F32, I32, Array
from redline.ops.attention.cpu import bad_sequence, check_attention
from redline.ops.kv_store.cpu import bad_slot, check_store
from redline.ops.kv_store.layout import kernel_operands
from redline.ops.recording import new_array
from redline.ops.rope.cpu import bad_position, check_rope


def rope_attention(  # noqa: PLR0913 - the operands of the op
    q_THD: F32,
    k_THD: F32,
    v_THD: F32,
    cos_PR: F32,
    sin_PR: F32,
    positions_T: I32,
    interleaved: bool,
    slots_T: I32,
    k_cache: Array,
    v_cache: Array,
    block_tables_SB: I32,
    query_start_S1: I32,
    context_lens_S: I32,
    scale: float,
    window: int,
    soft_cap: float,
) -> F32:
    check_rope(q_THD, cos_PR, sin_PR, positions_T)
    check_store(k_THD, v_THD, k_cache, v_cache, slots_T)
    check_rope(k_THD, cos_PR, sin_PR, positions_T)
    check_attention(
        q_THD, k_cache, v_cache, block_tables_SB, query_start_S1, context_lens_S, window, soft_cap
    )
    o_THD = new_array(q_THD.shape)
    bad = _kernels.rope_attention(
        q_THD,
        k_THD,
        v_THD,
        cos_PR,
        sin_PR,
        positions_T,
        interleaved,
        slots_T,
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
        index, operand = divmod(bad, 3)
        if operand == 0:
            raise bad_position(positions_T, index, cos_PR)
        if operand == 1:
            raise bad_slot(slots_T, index, k_cache, v_cache, q_THD.shape[2])
        raise bad_sequence(index, q_THD, k_cache, block_tables_SB, query_start_S1, context_lens_S)
    return o_THD
