"""Scoring: how likely the tokens of a prompt are, from the logits of its own rows.

A step has logits for the rows that give tokens, and they are few. Of a prompt that is scored nearly all rows
are wanted, and logits are wide: 512 rows of SmolLM2 take 96 MiB. So the rows go through the output matrix a
slice at a time, and of each slice only the log-probabilities are kept. Rows depend on nothing beside them, so
the numbers are those that decoding the same tokens gives, bit for bit, however the prompt is cut.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np

from redline.cache.paged import PagedKV
from redline.config.pooling import PoolingParams
from redline.config.sampling import SamplingParams
from redline.core.plan import Plan
from redline.decoding.sampler import TokenLogprob, token_logprobs
from redline.engine.pooling import MeanPool
from redline.layers.batch import Batch
from redline.models.decoder import Decoder
from redline.ops.arrays import F32, I32

SLICE_ROWS = 16  # with more the weights are read less often, but the logits take more memory


def first_scored(params: SamplingParams) -> int:
    """Index of the first token of a prompt that is scored; nothing stands before the very first."""
    return max(1, params.logprob_start_len)


def positions_to_score(num_prompt_tokens: int, params: SamplingParams) -> range:
    """The positions whose logits say how likely the wanted tokens of a prompt are: those before them.

    Or, of a prompt to be embedded, those whose final hidden states are wanted: all.
    """
    if isinstance(params, PoolingParams):
        return range(num_prompt_tokens)
    if params.prompt_logprobs is None:
        return range(0)
    return range(first_scored(params) - 1, num_prompt_tokens - 1)


class Scored(NamedTuple):
    """Logits [R, vocabulary] of the rows that sample, and the new scores of each sequence that has some."""

    logits_RV: F32
    by_seq: Mapping[int, list[TokenLogprob]]
    pooled: Collection[int] = ()  # sequences of which there are new hidden states


class Scorer:
    """Runs the steps in which tokens of prompts are scored, or their hidden states pooled, op by op."""

    def __init__(self, decoder: Decoder, kv: PagedKV) -> None:
        self._decoder = decoder
        self._kv = kv

    def __call__(
        self, plan: Plan, batch: Batch, prompts: Mapping[int, list[int]], pools: Mapping[int, MeanPool]
    ) -> Scored:
        """Score the positions of a plan that want it, and give hidden states to `pools`; one at least.

        `prompts`: the tokens to score. Both by sequence.
        """
        targets = _targets(plan, batch.query_start_S1, prompts)
        flat = [target for each in targets.values() for target in each]
        rows_W = np.array([target.row for target in flat], np.int32)
        to_pool = _rows_to_pool(plan, batch.query_start_S1, pools)
        rows_R = np.unique(np.concatenate([rows_W, batch.logit_rows_R, *to_pool.values()]))
        x_RD = self._decoder.hidden(batch, self._kv, rows_R)
        found = iter(self._score(x_RD, np.searchsorted(rows_R, rows_W), flat))
        by_seq = {seq_id: [next(found) for _ in each] for seq_id, each in targets.items()}
        for seq_id, rows_P in to_pool.items():
            self._pool(x_RD, np.searchsorted(rows_R, rows_P), pools[seq_id])
        return Scored(self._sampled(x_RD[np.searchsorted(rows_R, batch.logit_rows_R)]), by_seq, to_pool)

    def _pool(self, x_RD: F32, places_P: Any, pool: MeanPool) -> None:
        for start in range(0, len(places_P), SLICE_ROWS):
            pool.add(self._decoder.normed(x_RD[places_P[start : start + SLICE_ROWS]]))

    def _score(self, x_RD: F32, places_W: Any, targets: list[_Target]) -> list[TokenLogprob]:
        found: list[TokenLogprob] = []
        for start in range(0, len(targets), SLICE_ROWS):
            some = slice(start, start + SLICE_ROWS)
            found += self._score_slice(x_RD[places_W[some]], targets[some])
        return found

    def _score_slice(self, x_SD: F32, targets: list[_Target]) -> list[TokenLogprob]:
        """A function, so that the logits of one slice are gone before the next."""
        token_ids, counts = [each.token_id for each in targets], [each.num_top for each in targets]
        return token_logprobs(self._decoder.ops, self._decoder.logits(x_SD), token_ids, counts)

    def _sampled(self, x_RD: F32) -> F32:
        if not len(x_RD):
            return np.empty((0, self._decoder.spec.vocab_size), np.float32)
        return self._decoder.logits(x_RD)


class _Target(NamedTuple):
    """A token, the row whose logits score it, and how many of the likeliest to list beside it."""

    row: int
    token_id: int
    num_top: int


def _targets(plan: Plan, query_start_S1: I32, prompts: Mapping[int, list[int]]) -> dict[int, list[_Target]]:
    targets = {}
    for item, first_row in zip(plan.items, query_start_S1.tolist(), strict=False):
        if item.scored and item.seq.seq_id in prompts:
            seq_id, count = item.seq.seq_id, item.seq.params.prompt_logprobs
            assert count is not None, f"{item.seq} has no use for scores"
            behind = prompts[seq_id][item.scored.start + 1 : item.scored.stop + 1]
            rows = [first_row + position - item.start for position in item.scored]
            targets[seq_id] = [_Target(row, token, count) for row, token in zip(rows, behind, strict=True)]
    return targets


def _rows_to_pool(plan: Plan, query_start_S1: I32, pools: Mapping[int, MeanPool]) -> dict[int, I32]:
    rows = {}
    for item, first_row in zip(plan.items, query_start_S1.tolist(), strict=False):
        if item.scored and item.seq.seq_id in pools:
            first_row -= item.start
            some = item.scored
            rows[item.seq.seq_id] = np.arange(first_row + some.start, first_row + some.stop, dtype=np.int32)
    return rows
