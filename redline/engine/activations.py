"""What a forward pass needs besides weights and keys and values, found by running it on shapes alone.

The decoder's own code runs, so that whatever a family does is counted, and each array for as long as that
code holds it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any, cast

import numpy as np

from redline.cache.paged import PagedKV
from redline.layers.batch import Batch
from redline.models.decoder import Decoder
from redline.ops.heap_memory import HeapMemory
from redline.ops.recording import padded_rows
from redline.ops.registry import Backend
from redline.ops.shapes import ArenaMemory, Memory, shapes

Kind = Callable[[Backend], Backend]  # what the engine does to a backend: fused or not


class _NoKV:
    """Stands for the caches, which no op of shapes looks at."""

    def __init__(self) -> None:
        self.k = self.v = defaultdict[int, None](lambda: None)


def step_bytes(decoder: Decoder, kind: Kind, num_tokens: int, num_rows: int) -> int:
    """The most that arrays take at once in a step of so many tokens, logits of `num_rows` included."""
    memory = HeapMemory()
    _run(decoder, kind, memory, num_tokens, num_rows)
    return memory.peak_bytes


def arena_blocks(decoder: Decoder, kind: Kind, max_batch: int) -> list[int]:
    """Bytes of the blocks that decode steps of any size up to `max_batch` share (see ops/recording.py)."""
    memory = ArenaMemory()
    num_seqs = padded_rows(max_batch)
    while num_seqs:  # the largest first: an array takes a block of up to twice its size
        _run(decoder, kind, memory, num_seqs, num_seqs)
        num_seqs //= 2
    return memory.blocks


def _run(decoder: Decoder, kind: Kind, memory: Memory, num_tokens: int, num_rows: int) -> None:
    ops, decoder.ops = decoder.ops, kind(shapes(memory))
    try:
        kv: Any = _NoKV()
        decoder.forward(_batch(num_tokens, num_rows, len(decoder.spec.windows)), cast(PagedKV, kv))
    finally:
        decoder.ops = ops


def _batch(num_tokens: int, num_rows: int, num_groups: int) -> Batch:
    """As many sequences as rows: all decode but the last, which has the rest of the tokens."""
    ends = np.arange(num_rows + 1, dtype=np.int32)
    ends[-1] = num_tokens
    return Batch(
        token_ids_T=np.zeros(num_tokens, np.int32),
        positions_T=np.zeros(num_tokens, np.int32),
        slots_GT=(np.zeros(num_tokens, np.int32),) * num_groups,
        block_tables_GSB=(np.zeros((num_rows, 1), np.int32),) * num_groups,
        query_start_S1=ends,
        context_lens_S=np.zeros(num_rows, np.int32),  # so that no rotary table grows for this
        logit_rows_R=ends[1:] - 1,
    )
