"""Sampler: rows of logits in, one token per row out.

The order of steps is the field's: logit bias, penalties, the steps of steps/ that change logits, then
log-probabilities of the result (what the caller sees is the model's adjusted distribution, before
temperature and truncation), then temperature, top-k, top-p, min-p and one draw, or a draw by steps. Every
row is treated on its own, so a request gets the same tokens in any batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from redline.config.sampling import SamplingParams
from redline.decoding.random import Place, uniform
from redline.decoding.steps.build import RowSteps
from redline.decoding.steps.candidates import Candidates
from redline.decoding.structured.bitmask import rule_out
from redline.decoding.structured.constraint import ANYTHING, Allowed
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
    steps: RowSteps | None = None
    allowed: Allowed = ANYTHING  # what a grammar lets follow


@dataclass(frozen=True, slots=True)
class Sampled:
    """The token drawn for a row; an error in its place when the row cannot be drawn from.

    `mu`: mirostat's bound for the next token.
    """

    token_id: int
    logprob: TokenLogprob | None = None
    error: RequestError | None = None
    mu: float = 0.0


class Sampler:
    """Draws tokens with the ops of one backend."""

    def __init__(self, ops: Any) -> None:
        self._ops = ops

    def sample(self, logits_RV: Any, rows: list[SampleRow]) -> list[Sampled]:
        """One token per row. `logits_RV` is float32 and is changed in place."""
        errors = {
            index: error
            for index, row in enumerate(rows)
            if (error := _adjust(self._ops, logits_RV[index], row)) is not None
        }
        by_steps = [index for index, row in enumerate(rows) if row.steps and row.steps.steps.draw]
        token_ids = self._draw(logits_RV, rows, by_steps)
        mus = _draw_by_steps(logits_RV, rows, by_steps, token_ids)
        logprobs = self._logprobs(logits_RV, rows, token_ids)
        sampled = [
            Sampled(token_id, logprob)
            if token_id != NO_TOKEN
            else Sampled(NO_TOKEN, error=row.allowed.failure or not_a_number())
            for token_id, logprob, row in zip(token_ids, logprobs, rows, strict=True)
        ]
        for index, mu in mus.items():
            sampled[index] = replace(sampled[index], mu=mu)
        for index, error in errors.items():
            sampled[index] = Sampled(NO_TOKEN, error=error)
        return sampled

    def _draw(self, logits_RV: Any, rows: list[SampleRow], by_steps: list[int]) -> list[int]:
        """What the ops draw; the most likely token where steps will draw."""
        temperatures = [row.params.temperature for row in rows]
        for index in by_steps:
            temperatures[index] = 0.0
        if not any(temperatures):
            return [int(token) for token in self._ops.argmax(logits_RV)]
        params = [row.params for row in rows]
        draws = [
            uniform(row.seed, row.stream, row.position) if temperature else 0.0
            for row, temperature in zip(rows, temperatures, strict=True)
        ]
        token_ids = self._ops.sample(
            logits_RV,
            np.array(temperatures, np.float32),
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
        for start in range(0, len(wanted), MAX_GATHERED):
            indices = [index for index, _ in wanted[start : start + MAX_GATHERED]]
            counts = [count for _, count in wanted[start : start + MAX_GATHERED]]
            chosen = [token_ids[index] for index in indices]
            entries = token_logprobs(self._ops, logits_RV[indices], chosen, counts)
            for index, entry in zip(indices, entries, strict=True):
                found[index] = entry
        return found


def token_logprobs(ops: Any, logits_RV: Any, token_ids: list[int], counts: list[int]) -> list[TokenLogprob]:
    """How likely each row of logits finds its token, with so many of the likeliest; rank 0: a row of NaN."""
    results = ops.top_logprobs(logits_RV, max(counts), np.array(token_ids, np.int32))
    return [
        TokenLogprob(
            token_id,
            float(logprob),
            int(rank),
            list(zip(ids_k[:count].tolist(), logprobs_k[:count].tolist(), strict=True)),
        )
        for token_id, count, ids_k, logprobs_k, logprob, rank in zip(token_ids, counts, *results, strict=True)
    ]


def _draw_by_steps(
    logits_RV: Any, rows: list[SampleRow], by_steps: list[int], token_ids: list[int]
) -> dict[int, float]:
    """Put into `token_ids` what steps draw; gives mirostat's bound behind each of their rows.

    A row without a distribution (NaN, nothing above -inf, +inf) keeps what the op says of it.
    """
    mus: dict[int, float] = {}
    for index in by_steps:
        row, steps, likeliest = rows[index], rows[index].steps, token_ids[index]
        assert steps is not None and steps.steps.draw is not None, f"{row = }"
        mu = mus[index - 1] if steps.follows else steps.mu
        if likeliest != NO_TOKEN and np.isfinite(logits_RV[index, likeliest]):
            candidates = Candidates.of_row(logits_RV[index], row.params.temperature)
            place = Place(row.seed, row.stream, row.position)
            token_ids[index], mu = steps.steps.draw.draw(candidates, place, mu)
        mus[index] = mu
    return mus


def _adjust(ops: Any, logits_V: Any, row: SampleRow) -> RequestError | None:
    """Bias, penalties and steps of one request, in place: each works on what those before it made.

    Gives what a step holds against the request.
    """
    params = row.params
    if params.logit_bias:
        ids = np.fromiter(params.logit_bias.keys(), np.int64, len(params.logit_bias))
        logits_V[ids] += np.fromiter(params.logit_bias.values(), np.float32, len(params.logit_bias))
    if params.penalises:
        _penalise(ops, logits_V, row)
    if row.steps is not None:
        try:
            for step in row.steps.steps.logits:
                step.apply(logits_V, row.steps.before)
        except RequestError as error:
            return error
    if row.forbidden:
        # A checkpoint's settings may name an end of sequence that its matrices do not have.
        logits_V[[token for token in row.forbidden if token < len(logits_V)]] = -np.inf
    if row.allowed.mask_W is not None:
        rule_out(logits_V, row.allowed.mask_W)
    return None


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


def not_a_number() -> RequestError:
    """What to say of a row of logits that is no distribution."""
    return RequestError(
        "the model gave no usable distribution for this request (NaN, or every token ruled out); "
        "check logit_bias, allowed_token_ids, bad_words, logits_processors, min_tokens, structured_outputs, "
        "or the model file"
    )
