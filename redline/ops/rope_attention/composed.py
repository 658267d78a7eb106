"""rope_attention put together from the three ops that it is."""

from __future__ import annotations

from typing import Any


def composed(rope: Any, kv_store: Any, attention: Any) -> Any:
    """The op, from those of one backend."""

    def rope_attention(  # noqa: PLR0913 - the operands of the op
        q_THD: Any,
        k_THD: Any,
        v_THD: Any,
        cos_PR: Any,
        sin_PR: Any,
        positions_T: Any,
        interleaved: bool,
        slots_T: Any,
        k_cache: Any,
        v_cache: Any,
        *attended: Any,
    ) -> Any:
        k_THD = rope(k_THD, cos_PR, sin_PR, positions_T, interleaved)
        kv_store(k_THD, v_THD, k_cache, v_cache, slots_T)
        q_THD = rope(q_THD, cos_PR, sin_PR, positions_T, interleaved)
        return attention(q_THD, k_cache, v_cache, *attended)

    return rope_attention
