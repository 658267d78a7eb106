"""Steps: all steps of one choice, and the one place that reads which of them a request names."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np

from redline.config.sampling import SamplingParams
from redline.decoding.steps.allowed_tokens import AllowedTokens
from redline.decoding.steps.bad_words import BadWords, Speller
from redline.decoding.steps.breakers import Breakers, TokenBytes
from redline.decoding.steps.custom import CustomProcessor
from redline.decoding.steps.dry import Dry
from redline.decoding.steps.min_p import MinP
from redline.decoding.steps.mirostat import Mirostat, SurpriseBound, ZipfBound
from redline.decoding.steps.step import Draw, LogitsStep, TokensBefore, Truncation
from redline.decoding.steps.top_k import TopK
from redline.decoding.steps.top_n_sigma import TopNSigma
from redline.decoding.steps.top_p import TopP
from redline.decoding.steps.truncated import TruncatedDraw
from redline.decoding.steps.typical import Typical
from redline.decoding.steps.xtc import Xtc


class StepTokenizer(Speller, TokenBytes, Protocol):
    """What steps ask of a tokenizer."""


@dataclass(frozen=True, slots=True)
class Steps:
    """`logits` in order, then the `draw`; None: it is the op `sample` that draws."""

    logits: tuple[LogitsStep, ...] = ()
    draw: Draw | None = None

    def fork(self) -> Steps:
        """For another choice of the request."""
        return replace(self, logits=tuple(step.fork() for step in self.logits)) if self.logits else self


NO_STEPS = Steps()


class RowSteps(NamedTuple):
    """The steps of one row of logits, and what they are told of it.

    `mu`: mirostat's bound. Of a row that `follows`, behind the draft that the row before it may draw, the
    bound is what that draw makes of its own.
    """

    steps: Steps
    before: TokensBefore
    mu: float
    follows: bool = False


def build_steps(params: SamplingParams, tokenizer: StepTokenizer) -> Steps:
    """The steps that a request names; for one that names none, none."""
    logits = tuple(_logits_steps(params, tokenizer))
    draw = _draw(params)
    return Steps(logits, draw) if logits or draw else NO_STEPS


def _logits_steps(params: SamplingParams, tokenizer: StepTokenizer) -> list[LogitsStep]:
    steps: list[LogitsStep] = []
    if params.dry_multiplier and params.dry_penalty_last_n:
        steps.append(_dry(params, tokenizer))
    steps += [CustomProcessor(processor) for processor in params.logits_processors]
    if params.allowed_token_ids is not None:
        steps.append(AllowedTokens(tuple(params.allowed_token_ids)))
    if params.bad_words:
        steps.append(BadWords.spelled(params.bad_words, tokenizer))
    return steps


def _dry(params: SamplingParams, tokenizer: StepTokenizer) -> Dry:
    window = params.dry_penalty_last_n if params.dry_penalty_last_n > 0 else sys.maxsize
    breakers = Breakers(params.dry_sequence_breakers, tokenizer)
    return Dry(params.dry_multiplier, params.dry_base, params.dry_allowed_length, window, breakers)


def _draw(params: SamplingParams) -> Draw | None:
    if np.float32(params.temperature) == 0.0:  # as the op sees it
        return None
    if params.mirostat:
        bound = ZipfBound() if params.mirostat == 1 else SurpriseBound()
        return Mirostat(bound, params.mirostat_tau, params.mirostat_eta)
    if params.top_n_sigma <= 0 and params.typical_p == 1 and not params.xtc_probability:
        return None
    return TruncatedDraw(tuple(_truncations(params)))


def _truncations(params: SamplingParams) -> list[Truncation]:
    """In their order; the ones that the op `sample` has too must not act before or after all others."""
    steps: list[Truncation] = []
    if params.top_n_sigma > 0:
        steps.append(TopNSigma(params.top_n_sigma))
    if params.top_k:
        steps.append(TopK(params.top_k))
    if params.typical_p < 1:
        steps.append(Typical(params.typical_p))
    if params.top_p < 1:
        steps.append(TopP(params.top_p))
    if params.min_p:
        steps.append(MinP(params.min_p))
    if params.xtc_probability:
        steps.append(Xtc(params.xtc_probability, params.xtc_threshold))
    return steps
