"""Mirostat against its paper in float64."""

import math

import numpy as np
import pytest

from redline.config.sampling import SamplingParams
from redline.decoding.random import Place, uniform
from redline.decoding.sampler import Sampler, SampleRow
from redline.decoding.steps.build import RowSteps, build_steps
from redline.decoding.steps.candidates import Candidates
from redline.decoding.steps.step import TokensBefore
from redline.ops.registry import backend

SIZE, SEED = 3000, 11
BEFORE = TokensBefore([0], [])
SAMPLER = Sampler(backend("cpu"))


def zipf_rows(count):
    """Rows whose probabilities fall with rank as those of a text do, by another exponent each."""
    rng = np.random.default_rng(4)
    ranks = np.arange(1, SIZE + 1)
    rows = [
        rng.permutation(-exponent * np.log(ranks)) + rng.normal(0, 0.3, SIZE)
        for exponent in rng.uniform(0.9, 1.6, count)
    ]
    return np.array(rows, np.float32)


def bound_1(p_sorted, mu):
    """How many tokens version 1 keeps, by the formulas of the paper as they stand."""
    m = 100
    t = [math.log((i + 1) / i) for i in range(1, m)]
    b = [math.log(p_sorted[i - 1] / p_sorted[i]) for i in range(1, m)]
    s = sum(x * y for x, y in zip(t, b, strict=True)) / sum(x * x for x in t)
    excess = s - 1
    k = (excess * 2**mu / (1 - len(p_sorted) ** -excess)) ** (1 / s)
    return min(max(int(k), 1), len(p_sorted))


def reference(version, rows_RV, tau, eta):
    mu, tokens, mus = 2 * tau, [], []
    for place, logits_V in enumerate(rows_RV.astype(np.float64)):
        p_V = np.exp(logits_V - logits_V.max())
        p_V /= p_V.sum()
        order = np.argsort(-p_V, kind="stable")
        unsurprising = int((-np.log2(p_V[order]) <= mu).sum())
        size = bound_1(p_V[order], mu) if version == 1 else max(unsurprising, 1)
        kept = np.sort(order[:size])
        running = np.cumsum(p_V[kept])
        token = int(kept[np.searchsorted(running, uniform(SEED, 0, place) * running[-1], side="right")])
        mu -= eta * (-math.log2(p_V[token]) - tau)
        tokens.append(token)
        mus.append(mu)
    return tokens, mus


def sample(version, rows_RV, tau, eta, draft=0):
    """One row after the other, or `draft` rows at a time as for drafts that are all right."""
    params = SamplingParams(mirostat=version, mirostat_tau=tau, mirostat_eta=eta, seed=SEED)
    steps = build_steps(params, None)
    mu, tokens, mus = 2 * tau, [], []
    for start in range(0, len(rows_RV), draft + 1):
        some_RV = rows_RV[start : start + draft + 1].copy()
        rows = [
            SampleRow(params, SEED, 0, start + ahead, {}, steps=RowSteps(steps, BEFORE, mu, ahead > 0))
            for ahead in range(len(some_RV))
        ]
        sampled = SAMPLER.sample(some_RV, rows)
        mu = sampled[-1].mu
        tokens += [each.token_id for each in sampled]
        mus += [each.mu for each in sampled]
    return tokens, mus


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("tau, eta", [(5.0, 0.1), (2.0, 0.4), (0.0, 1.0)])
def test_tokens_and_bounds_are_those_of_the_paper(version, tau, eta):
    rows_RV = zipf_rows(60)
    tokens, mus = sample(version, rows_RV, tau, eta)
    expected, expected_mus = reference(version, rows_RV, tau, eta)
    assert tokens == expected
    assert mus == pytest.approx(expected_mus, abs=1e-4)


@pytest.mark.parametrize("version", [1, 2])
def test_drafts_carry_the_bound_along(version):
    rows_RV = zipf_rows(30)
    assert sample(version, rows_RV, 3.0, 0.5, draft=4) == sample(version, rows_RV, 3.0, 0.5)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("tau", [4.0, 6.0])
def test_the_surprise_of_the_text_nears_the_target(version, tau):
    rows_RV = zipf_rows(1200)
    tokens, _ = sample(version, rows_RV, tau, 0.2)
    logits_RV = rows_RV.astype(np.float64)
    log_p_R = logits_RV[range(len(tokens)), tokens] - np.log(np.exp(logits_RV).sum(1))
    assert -log_p_R.mean() / math.log(2) == pytest.approx(tau, abs=0.1)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("mu", [-5.0, 0.0, 3.0, 1e4])
@pytest.mark.parametrize(
    "logits", [[0.0], [1.0, 1.0], [0.0] * 200, [50.0, *[0.0] * 150], [0.0, -700.0, -800.0]]
)
def test_flat_steep_and_short_rows_give_a_token(version, mu, logits):
    draw = build_steps(SamplingParams(mirostat=version), None).draw
    drawn = draw.draw(Candidates.of_row(np.array(logits, np.float32), 1.0), Place(1, 0, 0), mu)
    assert 0 <= drawn.token_id < len(logits) and math.isfinite(drawn.mu)


def test_a_bound_below_all_leaves_the_most_likely():
    rows_RV = zipf_rows(20)
    tokens, _ = sample(2, rows_RV, 0.0, 0.0)
    assert tokens == rows_RV.argmax(1).tolist()
