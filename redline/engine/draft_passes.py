"""DraftPasses: a decoder runs ahead of sequences, all of them together, one likeliest token each a pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from redline.decoding.speculative.costs import StepCosts
from redline.engine.forward import Forward
from redline.layers.batch import Batch
from redline.ops.arrays import I32

FEW = 2  # tokens of each sequence: all that a pass has when the model kept up with the last step


class Span(NamedTuple):
    """Tokens of one sequence at `start` and behind; one block table for each layer group of the decoder."""

    token_ids: Sequence[int]
    start: int
    tables: tuple[list[int], ...]

    @property
    def end(self) -> int:
        """The position behind them."""
        return self.start + len(self.token_ids)


class DraftPasses:
    """`costs` learns what a pass takes, by sequences, in seconds of `clock`."""

    def __init__(self, forward: Forward, ops: Any, block_size: int, clock: Callable[[], float]) -> None:
        self.costs = StepCosts()
        self._forward = forward
        self._ops = ops
        self._block_size = block_size
        self._clock = clock

    def fill(self, spans: Sequence[Span]) -> None:
        """Compute the keys and values of these tokens."""
        if spans:
            self._forward(batch_of(spans, self._block_size, _no_rows()))

    def draft(self, spans: Sequence[Span], lengths: Sequence[int]) -> list[list[int]]:
        """What follows each span, `lengths` tokens, or fewer where the decoder gives no numbers."""
        drafts: list[list[int]] = [[] for _ in spans]
        todo = dict(enumerate(spans))
        while todo:
            token_ids = self._pass(list(todo.values()))
            for (index, span), token_id in zip(list(todo.items()), token_ids, strict=True):
                if token_id >= 0:
                    drafts[index].append(token_id)
                if token_id < 0 or len(drafts[index]) == lengths[index]:
                    del todo[index]
                else:
                    todo[index] = Span((token_id,), span.end, span.tables)
        return drafts

    def _pass(self, spans: list[Span]) -> list[int]:
        start_s = self._clock()
        last_rows = np.cumsum([len(span.token_ids) for span in spans], dtype=np.int32) - 1
        num_tokens = int(last_rows[-1]) + 1
        few = num_tokens <= FEW * len(spans)
        # With logits of every row, a few more than are read, the pass is one that can be replayed.
        rows_R = np.arange(num_tokens, dtype=np.int32) if few else last_rows
        logits_RV = self._forward(batch_of(spans, self._block_size, rows_R))
        if few and num_tokens > len(spans):
            logits_RV = logits_RV[last_rows]
        token_ids: list[int] = self._ops.argmax(logits_RV).tolist()
        if few and not self._forward.prepared:
            self.costs.measured(len(spans), self._clock() - start_s)
        return token_ids


def batch_of(spans: Sequence[Span], block_size: int, logit_rows_R: I32) -> Batch:
    """The Batch of spans."""
    lengths = [len(span.token_ids) for span in spans]
    query_start_S1 = np.zeros(len(spans) + 1, np.int32)
    np.cumsum(lengths, out=query_start_S1[1:])
    starts_S = np.array([span.start for span in spans], np.int32)
    sequence_T = np.repeat(np.arange(len(spans)), lengths)
    positions_T = np.arange(query_start_S1[-1], dtype=np.int32) + (starts_S - query_start_S1[:-1])[sequence_T]
    tables = [_table([span.tables[group] for span in spans]) for group in range(len(spans[0].tables))]
    blocks_T, within_T = positions_T // block_size, positions_T % block_size
    return Batch(
        token_ids_T=np.fromiter(chain.from_iterable(span.token_ids for span in spans), np.int32),
        positions_T=positions_T,
        slots_GT=tuple(
            (table_SB[sequence_T, blocks_T] * block_size + within_T).astype(np.int32) for table_SB in tables
        ),
        block_tables_GSB=tuple(tables),
        query_start_S1=query_start_S1,
        context_lens_S=starts_S + np.array(lengths, np.int32),
        logit_rows_R=logit_rows_R,
    )


def _table(tables: list[list[int]]) -> I32:
    """Blocks behind a window are not there; nobody reads them, but kernels want to see some that exist."""
    table_SB = np.zeros((len(tables), max(map(len, tables))), np.int32)
    for index, table in enumerate(tables):
        table_SB[index, : len(table)] = table
    return np.maximum(table_SB, 0, out=table_SB)


def _no_rows() -> I32:
    return np.empty(0, np.int32)
