"""What a forward pass needs besides weights and keys and values, found by running it on shapes alone.

The decoder's own code runs, so that whatever a family does is counted, and each array for as long as that
code holds it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import numpy as np

from redline.cache.paged import PagedKV
from redline.engine.scoring import SLICE_ROWS
from redline.layers.batch import Batch
from redline.models.decoder import Decoder
from redline.ops.heap_memory import HeapMemory
from redline.ops.recording import padded_rows
from redline.ops.registry import Backend
from redline.ops.shapes import ArenaMemory, Memory, shapes

Kind = Callable[[Backend], Backend]  # what the engine does to a backend: fused or not
GRAPH_CALL_BYTES = 314  # of a recorded kernel call, its share of the graph's arrays included
CALLS_PER_LAYER = 5


class _NoKV:
    """Stands for the caches, which no op of shapes looks at."""

    def __init__(self) -> None:
        self.k = self.v = defaultdict[int, None](lambda: None)


def step_bytes(decoder: Decoder, kind: Kind, num_tokens: int, num_rows: int) -> int:
    """The most that arrays take at once in a step of so many tokens, logits of `num_rows` included.

    Or in one of which all tokens but the last are scored, a slice at a time (see redline/engine/scoring.py).
    """
    memory = HeapMemory()
    _run(decoder, kind, memory, num_tokens, num_rows)
    while num_tokens:  # what scoring keeps of a smaller step may lie where it is more in the way
        _score(decoder, kind, memory, num_tokens, max(num_rows, SLICE_ROWS))
        num_tokens //= 2
    return memory.peak_bytes


def arena_blocks(decoder: Decoder, kind: Kind, max_batch: int) -> list[int]:
    """Bytes of the blocks that decode steps of any size up to `max_batch` share (see ops/recording.py)."""
    memory = ArenaMemory()
    num_seqs = padded_rows(max_batch)
    while num_seqs:  # the largest first: an array takes a block of up to twice its size
        _run(decoder, kind, memory, num_seqs, num_seqs)
        num_seqs //= 2
    return memory.blocks


def recorded_bytes(num_layers: int, num_graphs: int) -> int:
    """Of so many recorded steps, what they compute with aside."""
    return num_graphs * num_layers * CALLS_PER_LAYER * GRAPH_CALL_BYTES


def _run(decoder: Decoder, kind: Kind, memory: Memory, num_tokens: int, num_rows: int) -> None:
    with _on_shapes(decoder, kind, memory) as kv:
        decoder.forward(_batch(num_tokens, num_rows, len(decoder.spec.windows)), kv)


def _score(decoder: Decoder, kind: Kind, memory: Memory, num_tokens: int, num_rows: int) -> None:
    rows_R = np.arange(max(1, num_tokens - 1), dtype=np.int32)
    with _on_shapes(decoder, kind, memory) as kv:
        x_RD = decoder.hidden(_batch(num_tokens, 1, len(decoder.spec.windows)), kv, rows_R)
        decoder.logits(x_RD[:num_rows])
        decoder.normed(x_RD[:SLICE_ROWS])


@contextmanager
def _on_shapes(decoder: Decoder, kind: Kind, memory: Memory) -> Iterator[PagedKV]:
    ops, decoder.ops = decoder.ops, kind(shapes(memory))
    try:
        yield cast(PagedKV, _NoKV())
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
