"""naive(): a backend whose attention makes whole matrices of scores.

The baseline of flash attention. Rotations and stores are those of the backend.
"""

from __future__ import annotations

from redline.ops.registry import Backend
from redline.ops.rope_attention.composed import composed


def naive(ops: Backend) -> Backend:
    """`ops` with attention as its formula is written down."""
    rope_attention = composed(ops.rope, ops.kv_store, ops.naive_attention)
    return Backend(**{**vars(ops), "attention": ops.naive_attention, "rope_attention": rope_attention})
