"""Does the sampler draw from the distribution that temperature, top-k, top-p and min-p define?

No other check sees that: a sampler that leaves a token out does so in every batch, with the same bits. So
what it draws is held against the definition in float64, written down here once more. The draws are those of
real seeds; where one of thousands must give the last token that the truncation keeps, it is among them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from redline.bench.verify.outcome import Verdict
from redline.config.sampling import SamplingParams
from redline.decoding.random import uniform
from redline.decoding.sampler import Sampler, SampleRow
from redline.ops.arrays import F32, Array

SETTINGS: tuple[dict[str, Any], ...] = (
    {"temperature": 1.0, "top_p": 0.9},
    {"temperature": 0.9, "top_p": 0.5},
    {"temperature": 1.3, "top_k": 20},
    {"temperature": 0.7, "min_p": 0.02},
    {"temperature": 1.2, "top_k": 50, "top_p": 0.8, "min_p": 0.01},
)
SEEDS = 4096  # that the draws are chosen from
DRAWS = 24  # of a row with a setting, beside the one for the last token
ROUNDING = 1e-5  # of sums in float32: a draw so near to the edge of a token's share says nothing


def drawing(ops: Any, logits_RV: F32) -> Verdict:
    """Whether a backend's sampler draws what the definition gives, on rows of logits [R, vocabulary]."""
    draws_N = np.array([uniform(seed, 0, 0) for seed in range(SEEDS)])
    drawn = edges = 0
    for settings in SETTINGS:
        params = SamplingParams(**settings)
        for row, logits_V in enumerate(logits_RV):
            kept_K, ends_K = shares(logits_V, params)
            seeds, places, has_last = _telling(kept_K, ends_K, draws_N, logits_V)
            found = _sampled(ops, logits_V, params, seeds)
            drawn, edges = drawn + len(seeds), edges + has_last
            for seed, place, token in zip(seeds, places, found, strict=True):
                if token != kept_K[place]:
                    due = f"{token} was drawn for {kept_K[place]}"
                    return Verdict("broken", f"{settings}, row {row}, seed {seed}: token {due}")
    if not edges:
        return Verdict("skipped", "no draw tells about the last token that truncation keeps")
    what = f"{drawn} draws with {len(SETTINGS)} settings are those of the definition"
    return Verdict("holds", f"{what}, {edges} of them of the last token kept")


def shares(logits_V: F32, params: SamplingParams) -> tuple[Array, Array]:
    """The tokens [K] that a setting keeps, in order of their ids, and where the share of each ends [K]."""
    p_V = np.exp((logits_V.astype(np.float64) - logits_V.max()) / params.temperature)
    order = np.argsort(-p_V, kind="stable")
    if params.top_k > 0:
        order = order[: params.top_k]
    p_K = p_V[order] / p_V[order].sum()
    if params.top_p < 1.0:  # the fewest whose sum reaches it: the one that does is among them
        reached = int(np.searchsorted(np.cumsum(p_K), params.top_p)) + 1
        order, p_K = order[:reached], p_K[:reached]
    likely = p_K >= params.min_p * p_K[0]
    order, p_K = order[likely], p_K[likely]
    by_id = np.argsort(order)
    return order[by_id], np.cumsum(p_K[by_id]) / p_K.sum()


def _telling(
    kept_K: Array, ends_K: Array, draws_N: Array, logits_V: F32
) -> tuple[list[int], list[int], bool]:
    """Seeds whose draw is inside the share of a token, that token's place, and whether the last is there.

    The last is the least likely of those that are kept.
    """
    places_N = np.searchsorted(ends_K, draws_N, side="right").clip(max=len(ends_K) - 1)
    starts_K = np.concatenate([[0.0], ends_K[:-1]])
    inside_N = (draws_N - starts_K[places_N] > ROUNDING) & (ends_K[places_N] - draws_N > ROUNDING)
    usable = np.flatnonzero(inside_N)
    last = int(np.argmin(logits_V[kept_K]))
    of_last = usable[places_N[usable] == last][:1]
    chosen = [*of_last.tolist(), *usable[:DRAWS].tolist()]
    return chosen, places_N[chosen].tolist(), len(kept_K) > 1 and len(of_last) == 1


def _sampled(ops: Any, logits_V: F32, params: SamplingParams, seeds: list[int]) -> list[int]:
    rows = [SampleRow(params=params, seed=seed, stream=0, position=0, counts={}) for seed in seeds]
    sampled = Sampler(ops).sample(np.tile(logits_V, (len(rows), 1)), rows)
    return [each.token_id for each in sampled]
