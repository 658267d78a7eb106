"""From a batch to its logits: op by op, or, for decode steps, by replaying a recorded graph.

A decode step of a batch of N is the same few hundred kernel calls each time, with other inputs. One by one
from Python they take up to half of a small model's step; recorded once per N they are one call. That is what
CUDA graphs do for GPUs. With drafts, it is once per N and number of all tokens.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from redline.cache.paged import PagedKV
from redline.layers.batch import Batch
from redline.models.decoder import Decoder
from redline.ops.arrays import F32
from redline.ops.recording import record

MAX_GRAPHS = 128  # some 50 KiB each; the least recently used goes
LEAST_WIDTH = 8  # blocks; tables of similar width share a graph


class Forward(Protocol):
    """Runs a batch."""

    prepared: bool  # the last batch took longer, because something was made that others will use

    @property
    def hidden_RD(self) -> F32 | None:
        """Of the last batch, where the decoder keeps it, for as long as its logits are good."""

    def __call__(self, batch: Batch) -> F32:
        """Logits [R, vocabulary] of the rows in batch.logit_rows_R, good until the next call."""


class EagerForward:
    """Op by op."""

    prepared = False

    def __init__(self, decoder: Decoder, kv: PagedKV) -> None:
        self._decoder = decoder
        self._kv = kv

    @property
    def hidden_RD(self) -> F32 | None:
        return self._decoder.hidden_RD

    def __call__(self, batch: Batch) -> F32:
        return self._decoder.forward(batch, self._kv)


@dataclass(frozen=True, slots=True)
class _Recorded:
    graph: Any  # redline._kernels.Graph
    inputs: Batch  # the arrays that the graph reads
    logits_RV: F32  # where it leaves the result
    hidden_RD: F32 | None


class ReplayForward:
    """Steps in which every token gives logits (decodes, drafts) are replayed, all others run op by op.

    `arena_blocks`: bytes of the blocks of memory that all graphs share (see engine/activations.py), so that
    there are as many whatever batch comes first. `shared`: use the memory of that one, whose results last
    until the next call of either. Steps of more than `max_tokens` are not replayed.
    """

    def __init__(
        self,
        decoder: Decoder,
        kv: PagedKV,
        arena_blocks: Sequence[int] = (),
        max_tokens: int | None = None,  # None: whatever comes
        shared: ReplayForward | None = None,  # None: memory of its own
    ) -> None:
        from redline import _kernels

        self._kernels = _kernels
        self._decoder = decoder
        self._kv = kv
        self.prepared = False
        self._hidden_RD: F32 | None = None
        self._max_tokens = max_tokens
        self._arena: Any = _kernels.Arena() if shared is None else shared._arena
        self._num_moves = 0  # of the rotary tables, when the graphs were recorded
        self._graphs: OrderedDict[tuple[int, ...], _Recorded] = OrderedDict()
        graph = _kernels.Graph(self._arena)
        held = [graph.empty((num_bytes // 4,)) for num_bytes in arena_blocks]
        del held  # given back, and the system has yet to give what was never written

    @property
    def hidden_RD(self) -> F32 | None:
        return self._hidden_RD

    def __call__(self, batch: Batch) -> F32:
        self.prepared = False
        num_tokens = len(batch.token_ids_T)
        too_many = self._max_tokens is not None and num_tokens > self._max_tokens
        if num_tokens != len(batch.logit_rows_R) or too_many:
            logits_RV = self._decoder.forward(batch, self._kv)
            self._hidden_RD = self._decoder.hidden_RD
            return logits_RV
        num_moves = self._decoder.cover_positions(batch)
        if num_moves != self._num_moves:  # in another forward pass, maybe
            self._graphs.clear()  # they read tables that are no more
            self._num_moves = num_moves
        widths = [_width(table.shape[1]) for table in batch.block_tables_GSB]
        key = (num_tokens, len(batch.context_lens_S), *widths)
        recorded = self._graphs.get(key)
        if recorded is None:
            self.prepared = True
            return self._record(key, batch)
        self._graphs.move_to_end(key)
        _fill(recorded.inputs, batch)
        failed = recorded.graph.replay()
        assert failed < 0, f"call {failed} of a recorded graph refused its operands"
        self._hidden_RD = recorded.hidden_RD
        return recorded.logits_RV

    def _record(self, key: tuple[int, ...], batch: Batch) -> F32:
        inputs = _inputs(*key)
        _fill(inputs, batch)
        graph = self._kernels.Graph(self._arena)
        with record(graph):
            logits_RV = self._decoder.forward(inputs, self._kv)
        hidden_RD, self._decoder.hidden_RD = self._decoder.hidden_RD, None
        self._hidden_RD = None if hidden_RD is None else graph.result(hidden_RD)
        self._graphs[key] = _Recorded(graph, inputs, graph.result(logits_RV), self._hidden_RD)
        if len(self._graphs) > MAX_GRAPHS:
            self._graphs.popitem(last=False)
        return logits_RV


def _width(num_blocks: int) -> int:
    return max(LEAST_WIDTH, 1 << (num_blocks - 1).bit_length())


def _inputs(num_tokens: int, num_seqs: int, *widths: int) -> Batch:
    """A batch in which each token gives logits."""
    return Batch(
        token_ids_T=np.zeros(num_tokens, np.int32),
        positions_T=np.zeros(num_tokens, np.int32),
        slots_GT=tuple(np.zeros(num_tokens, np.int32) for _ in widths),
        block_tables_GSB=tuple(np.zeros((num_seqs, width), np.int32) for width in widths),
        query_start_S1=np.zeros(num_seqs + 1, np.int32),
        context_lens_S=np.zeros(num_seqs, np.int32),
        logit_rows_R=np.arange(num_tokens, dtype=np.int32),
    )


def _fill(inputs: Batch, batch: Batch) -> None:
    inputs.token_ids_T[:] = batch.token_ids_T
    inputs.positions_T[:] = batch.positions_T
    for into_T, slots_T in zip(inputs.slots_GT, batch.slots_GT, strict=True):
        into_T[:] = slots_T
    for into_SB, tables_SB in zip(inputs.block_tables_GSB, batch.block_tables_GSB, strict=True):
        into_SB[:, : tables_SB.shape[1]] = tables_SB
    inputs.query_start_S1[:] = batch.query_start_S1
    inputs.context_lens_S[:] = batch.context_lens_S
