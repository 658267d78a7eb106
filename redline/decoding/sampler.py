"""Sampler: rows of logits in, one token per row out.

The order of steps is the field's: logit bias, penalties, then log-probabilities of the result (what the
caller sees is the model's adjusted distribution, before temperature and truncation), then temperature,
top-k, top-p, min-p and one draw. Every row is treated on its own, so a request gets the same tokens in any
batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from redline.config.sampling import SamplingParams
from redline.decoding.random import uniform
from redline.errors import RequestError

MAX_GATHERED = 8  # rows of logits copied at a time, for their log-probabilities
NO_TOKEN = -1  # what the sampling ops answer for a row of NaN or of nothing but -inf


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """How likely the model found one token: natural log, rank 1 = most likely, and the best alternatives."""

    token_id: int
    logprob: float
    rank: int
    top: list[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class SampleRow:
    """What one row of logits needs: its request's parameters and the tokens that came before."""

    params: SamplingParams
    seed: int
    stream: int  # index of the choice within its request
    position: int  # index of the token to be drawn
    counts: Mapping[int, int]  # token id -> occurrences in the output so far; 0: in the prompt alone
    forbidden: frozenset[int] | None = None  # tokens that must not be drawn, for min_tokens


@dataclass(frozen=True, slots=True)
class Sampled:
    """The token drawn for a row; an error in its place when the row cannot be drawn from."""

    token_id: int
    logprob: TokenLogprob | None = None
    error: RequestError | None = None


class Sampler:
    """Draws tokens with the ops of one backend."""

    def __init__(self, ops: Any) -> None:
        self._ops = ops

    def sample(self, logits_RV: Any, rows: list[SampleRow]) -> list[Sampled]:
        """One token per row. `logits_RV` is float32 and is changed in place."""
        for index, row in enumerate(rows):
            _adjust(self._ops, logits_RV[index], row)
        token_ids = self._draw(logits_RV, rows)
        logprobs = self._logprobs(logits_RV, rows, token_ids)
        return [
            Sampled(token_id, logprob) if token_id != NO_TOKEN else Sampled(NO_TOKEN, error=_not_a_number())
            for token_id, logprob in zip(token_ids, logprobs, strict=True)
        ]

    def _draw(self, logits_RV: Any, rows: list[SampleRow]) -> list[int]:
        if all(row.params.greedy for row in rows):
            return [int(token) for token in self._ops.argmax(logits_RV)]
        params = [row.params for row in rows]
        draws = [0.0 if row.params.greedy else uniform(row.seed, row.stream, row.position) for row in rows]
        token_ids = self._ops.sample(
            logits_RV,
            np.array([p.temperature for p in params], np.float32),
            np.array([min(p.top_k, logits_RV.shape[1]) for p in params], np.int32),
            np.array([p.top_p for p in params], np.float32),
            np.array([p.min_p for p in params], np.float32),
            np.array(draws, np.float64),
        )
        return [int(token) for token in token_ids]

    def _logprobs(
        self, logits_RV: Any, rows: list[SampleRow], token_ids: list[int]
    ) -> list[TokenLogprob | None]:
        found: list[TokenLogprob | None] = [None] * len(rows)
        wanted = [
            (index, count)
            for index, row in enumerate(rows)
            if (count := row.params.logprobs) is not None and token_ids[index] != NO_TOKEN
        ]
        if not wanted:
            return found
        most = max(max(count for _, count in wanted), 1)
        for start in range(0, len(wanted), MAX_GATHERED):
            some = wanted[start : start + MAX_GATHERED]
            indices = [index for index, _ in some]
            chosen = np.array([token_ids[index] for index in indices], np.int32)
            results = self._ops.top_logprobs(logits_RV[indices], most, chosen)
            for (index, count), ids_k, logprobs_k, logprob, rank in zip(some, *results, strict=True):
                top = list(zip(ids_k[:count].tolist(), logprobs_k[:count].tolist(), strict=True))
                found[index] = TokenLogprob(token_ids[index], float(logprob), int(rank), top)
        return found


def _adjust(ops: Any, logits_V: Any, row: SampleRow) -> None:
    """Bias and penalties of one request, in place: repetition_penalty scales what the bias has shifted."""
    params = row.params
    if params.logit_bias:
        ids = np.fromiter(params.logit_bias.keys(), np.int64, len(params.logit_bias))
        logits_V[ids] += np.fromiter(params.logit_bias.values(), np.float32, len(params.logit_bias))
    if params.penalises:
        _penalise(ops, logits_V, row)
    if row.forbidden:
        # A checkpoint's settings may name an end of sequence that its matrices do not have.
        logits_V[[token for token in row.forbidden if token < len(logits_V)]] = -np.inf


def _penalise(ops: Any, logits_V: Any, row: SampleRow) -> None:
    params, counts = row.params, row.counts
    if not counts:
        return
    ids = np.fromiter(counts.keys(), np.int32, len(counts))
    occurrences = np.fromiter(counts.values(), np.int32, len(counts))
    ops.penalties(
        logits_V,
        ids,
        occurrences,
        params.repetition_penalty,
        params.presence_penalty,
        params.frequency_penalty,
    )


def _not_a_number() -> RequestError:
    return RequestError(
        "the model gave no usable distribution for this request (NaN, or every token ruled out); "
        "check logit_bias and min_tokens, or the model file"
    )
