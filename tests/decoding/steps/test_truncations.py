"""Each truncation against its definition in float64, and against transformers where it has the same."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.generation import logits_process as oracle

from redline.config.sampling import SamplingParams
from redline.decoding.random import Place, uniform
from redline.decoding.sampler import Sampler, SampleRow
from redline.decoding.steps.build import RowSteps, build_steps
from redline.decoding.steps.candidates import Candidates
from redline.decoding.steps.min_p import MinP
from redline.decoding.steps.nucleus import nucleus
from redline.decoding.steps.step import TokensBefore
from redline.decoding.steps.top_k import TopK
from redline.decoding.steps.top_n_sigma import TopNSigma
from redline.decoding.steps.top_p import TopP
from redline.decoding.steps.truncated import TruncatedDraw
from redline.decoding.steps.typical import Typical
from redline.decoding.steps.xtc import Xtc
from redline.ops.registry import backend

PLACE, BEFORE = Place(1, 0, 0), TokensBefore([0], [])
SAMPLER = Sampler(backend("cpu"))
SHAPES = {"flat": 0.5, "usual": 2.5, "peaked": 6.0}


def rows(shape, count=6, size=1500):
    rng = np.random.default_rng(list(SHAPES).index(shape))
    rows_RV = rng.standard_normal((count, size)).astype(np.float32) * SHAPES[shape]
    rows_RV[:, rng.integers(0, size, 40)] = -np.inf
    return rows_RV


def softmax(logits_V, temperature=1.0):
    with np.errstate(invalid="ignore"):
        p_V = np.exp((logits_V.astype(np.float64) - logits_V.max()) / temperature)
    return p_V / p_V.sum()


def kept(step, logits_V, temperature=1.0, place=PLACE):
    return step.keep(Candidates.of_row(logits_V, temperature), place).ids_K.tolist()


def fewest(order_V, p_V, share):
    """In a loop, as the papers say it."""
    chosen, mass = [], 0.0
    for token_id in sorted(np.flatnonzero(p_V), key=lambda token_id: (order_V[token_id], token_id)):
        chosen.append(int(token_id))
        mass += p_V[token_id]
        if mass >= share:
            break
    return sorted(chosen)


def by_transformers(warper, logits_V, temperature=1.0):
    scores = torch.from_numpy(logits_V[None] / np.float32(temperature))
    return torch.isfinite(warper(torch.zeros(1, 1, dtype=torch.long), scores)[0]).nonzero()[:, 0].tolist()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("temperature", [0.7, 1.5])
@pytest.mark.parametrize("typical_p", [0.05, 0.5, 0.95])
def test_typical(shape, temperature, typical_p):
    for logits_V in rows(shape):
        p_V = softmax(logits_V, temperature)
        surprise_V = -np.log(np.maximum(p_V, 1e-300))
        entropy = (p_V * surprise_V).sum()
        expected = fewest(np.abs(surprise_V - entropy), p_V, typical_p)
        got = kept(Typical(typical_p), logits_V, temperature)
        assert got == expected
        assert by_transformers(oracle.TypicalLogitsWarper(typical_p), logits_V, temperature) == got


def test_typical_may_leave_out_the_most_likely_token():
    logits_V = np.log(np.array([0.4] + [0.06] * 10, np.float32))
    assert kept(Typical(0.5), logits_V) == list(range(1, 10))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("num_sigmas", [0.5, 1.0, 2.5])
def test_top_n_sigma(shape, num_sigmas):
    for logits_V in rows(shape):
        exact_V = logits_V.astype(np.float64)
        sigma = exact_V[np.isfinite(exact_V)].std()
        expected = np.flatnonzero(exact_V >= exact_V.max() - num_sigmas * sigma).tolist()
        for temperature in (0.3, 1.0, 5.0):
            assert kept(TopNSigma(num_sigmas), logits_V, temperature) == expected


def test_the_steps_that_the_op_has_too_agree_with_transformers():
    for shape in SHAPES:
        for logits_V in rows(shape):
            assert kept(TopK(50), logits_V) == by_transformers(oracle.TopKLogitsWarper(50), logits_V)
            assert kept(TopP(0.8), logits_V) == by_transformers(oracle.TopPLogitsWarper(0.8), logits_V)
            assert kept(MinP(0.05), logits_V) == by_transformers(oracle.MinPLogitsWarper(0.05), logits_V)


@pytest.mark.parametrize(
    "options", [{}, {"top_k": 7}, {"top_p": 0.7}, {"min_p": 0.1}, {"top_k": 40, "top_p": 0.6, "min_p": 0.02}]
)
def test_the_steps_that_the_op_has_too_draw_what_the_op_draws(options):
    params = SamplingParams(temperature=1.2, seed=3, **options)
    makers = {"top_k": TopK, "top_p": TopP, "min_p": MinP}
    draw = TruncatedDraw(tuple(makers[name](value) for name, value in options.items()))
    logits_RV = rows("usual", 300, 200)
    sampled = SAMPLER.sample(logits_RV.copy(), [SampleRow(params, 3, 0, place, {}) for place in range(300)])
    by_steps = [
        draw.draw(Candidates.of_row(logits_V, 1.2), Place(3, 0, place), 0.0).token_id
        for place, logits_V in enumerate(logits_RV)
    ]
    assert by_steps == [each.token_id for each in sampled]
    assert len(set(by_steps)) > 20


def test_ties_go_to_the_lower_id():
    logits_V = np.array([0.0, 1.0, 1.0, 1.0, -1.0], np.float32)
    assert kept(TopK(2), logits_V) == [1, 2]
    assert kept(TopP(0.5), logits_V) == [1, 2]
    assert kept(TopK(9), logits_V) == [0, 1, 2, 3, 4]
    assert kept(TopP(0.5), np.zeros(4, np.float32)) == [0, 1]
    assert nucleus(np.ones(5000, np.float32), np.ones(5000, np.float32), 0.1).tolist() == list(range(500))


def test_what_has_no_weight_is_not_drawn():
    candidates = Candidates.of_row(np.array([-500.0, 0.0, 1.0, -500.0], np.float32), 1.0)
    assert [candidates.draw(uniform) for uniform in (0.0, 1 - 2.0**-53, 1.0)] == [1, 2, 2]


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 5000])
@pytest.mark.parametrize("share", [1e-6, 0.5, 0.999999, 1.0])
def test_a_nucleus_of_any_size(size, share):
    rng = np.random.default_rng(size)
    weight_K = rng.random(size).astype(np.float32)
    order_K = np.round(rng.random(size).astype(np.float32), 1)  # many are equal
    order_K[0] = -0.0
    p_K = weight_K.astype(np.float64) / weight_K.sum(dtype=np.float64)
    got = nucleus(order_K, weight_K, share).tolist()
    expected = fewest(order_K, p_K, share)
    assert got == expected if share < 1 else p_K[got].sum() == pytest.approx(1)


def test_xtc_leaves_out_all_likely_tokens_but_the_last():
    p_V = np.array([0.3, 0.12, 0.25, 0.08, 0.05, 0.2], np.float32)
    logits_V = np.log(p_V)
    assert kept(Xtc(1.0, 0.1), logits_V) == [1, 3, 4]
    assert kept(Xtc(1.0, 0.28), logits_V) == [0, 1, 2, 3, 4, 5], "one likely token is no choice"
    assert kept(Xtc(1.0, 0.6), logits_V) == [0, 1, 2, 3, 4, 5]
    assert kept(Xtc(0.0, 0.1), logits_V) == [0, 1, 2, 3, 4, 5]
    assert kept(Xtc(1.0, 0.0), logits_V) == [4], "the least likely of all"


def test_xtc_acts_as_often_as_asked_and_apart_from_the_draw():
    p_V = np.array([0.5, 0.3, 0.15, 0.05])
    params = SamplingParams(xtc_probability=0.3, xtc_threshold=0.2, seed=1)
    steps = build_steps(params, None)
    count = 20_000
    logits_RV = np.tile(np.log(p_V).astype(np.float32), (count, 1))
    rows = [SampleRow(params, 1, 0, place, {}, steps=RowSteps(steps, BEFORE, 0.0)) for place in range(count)]
    frequencies = (
        np.bincount([each.token_id for each in SAMPLER.sample(logits_RV, rows)], minlength=4) / count
    )
    excluded_V = np.array([0.0, 0.6, 0.3, 0.1])
    expected_V = 0.7 * p_V + 0.3 * excluded_V
    assert (np.abs(frequencies - expected_V) < 4.5 * np.sqrt(expected_V / count)).all(), frequencies


def test_the_numbers_of_two_purposes_are_independent():
    places = range(4000)
    first, second = (np.array([uniform(7, 0, place, purpose) for place in places]) for purpose in (0, 1))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.05 and abs(second.mean() - 0.5) < 0.02


def test_a_row_is_drawn_alike_alone_and_among_others():
    options = [
        {"typical_p": 0.9},
        {"top_n_sigma": 1.0},
        {"xtc_probability": 0.5, "top_p": 0.9},
        {},
        {"mirostat": 2},
    ]
    built = [SamplingParams(seed=5, **each) for each in options]
    rows = [
        SampleRow(params, 5, index, place, {}, steps=RowSteps(build_steps(params, None), BEFORE, 10.0))
        for place in range(9)
        for index, params in enumerate(built)
    ]
    logits_RV = np.random.default_rng(1).standard_normal((len(rows), 333)).astype(np.float32) * 3
    together = SAMPLER.sample(logits_RV.copy(), rows)
    alone = [SAMPLER.sample(logits_RV[index : index + 1].copy(), [row])[0] for index, row in enumerate(rows)]
    assert together == alone


@pytest.mark.parametrize(
    "options",
    [{"typical_p": 0.5}, {"top_n_sigma": 1.0}, {"xtc_probability": 1.0}, {"mirostat": 1}, {"mirostat": 2}]
    + [{"xtc_probability": 1.0, "xtc_threshold": threshold} for threshold in (0.0, 5e-324)],
)
def test_rows_without_a_usual_distribution(options):
    def draw(*logits, temperature=1.0):
        params = SamplingParams(temperature=temperature, **options)
        row = SampleRow(params, 1, 0, 0, {}, steps=RowSteps(build_steps(params, None), BEFORE, 5.0))
        return SAMPLER.sample(np.array([logits], np.float32), [row])[0]

    inf = np.inf
    assert draw(0.0, np.nan, 1.0).error is not None
    assert draw(-inf, -inf).error is not None
    assert draw(0.0, inf, 1.0, inf).token_id == 1
    assert draw(-inf, -3.0, -inf).token_id == 1
    assert draw(1.0, 5.0, 2.0, temperature=1e-30).token_id == 1
    assert draw(1.0, 5.0, 2.0, temperature=1e-60).token_id == 1
    assert draw(1.0, 5.0, 2.0, temperature=0.0).token_id == 1


def test_the_order_is_that_of_llama_cpp():
    params = SamplingParams(
        top_n_sigma=1.5,
        top_k=5,
        typical_p=0.7,
        top_p=0.9,
        min_p=0.1,
        xtc_probability=0.5,
        xtc_threshold=0.3,
    )
    steps = build_steps(params, None).draw._truncations
    assert [type(step) for step in steps] == [TopNSigma, TopK, Typical, TopP, MinP, Xtc]
    assert [[*vars(step).values()] for step in steps] == [[1.5], [5], [0.7], [0.9], [0.1], [0.5, 0.3]]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"top_k": 5, "top_p": 0.5, "min_p": 0.1},
        {"top_n_sigma": 0},
        {"dry_multiplier": 1.0, "dry_penalty_last_n": 0},
        {"temperature": 0.0, "typical_p": 0.5},
        {"xtc_threshold": 0.3},
    ],
)
def test_who_names_no_step_has_none(options):
    steps = build_steps(SamplingParams(**options), None)
    assert (steps.logits, steps.draw) == ((), None)


chances = st.floats(0, 1) | st.sampled_from([0.0, 1e-300, 5e-324, 0.5, 1.0])
above_0 = chances.filter(bool)
logit = st.sampled_from([-np.inf, -1e30, -1000.0, -100.0, -1.0, -0.0, 0.0, 1.0, 50.0, 3e38]) | st.floats(
    -9, 9
)
truncations = st.fixed_dictionaries(
    {},
    optional={
        "top_n_sigma": st.floats(0, 100),
        "top_k": st.integers(0, 5),
        "typical_p": above_0,
        "top_p": above_0,
        "min_p": chances,
        "xtc_probability": chances,
        "xtc_threshold": chances,
    },
)
mirostats = st.fixed_dictionaries(
    {"mirostat": st.sampled_from([1, 2]), "mirostat_tau": st.floats(0, 100), "mirostat_eta": st.floats(0, 1)}
)


@settings(max_examples=600, deadline=None)
@given(
    options=truncations | mirostats,
    temperature=st.floats(0, 100) | st.sampled_from([1e-300, 1e-40, 1e-9, 0.1]),
    logits=st.lists(logit, min_size=1, max_size=9),
)
@pytest.mark.filterwarnings("error")
def test_any_parameters_draw_a_token_that_is_not_ruled_out(options, temperature, logits):
    params = SamplingParams(temperature=temperature, seed=1, **options)
    steps, mu = build_steps(params, None), 2 * params.mirostat_tau
    for place in range(3):
        row = SampleRow(params, 1, 0, place, {}, steps=RowSteps(steps, BEFORE, mu))
        (sampled,) = SAMPLER.sample(np.array([logits], np.float32), [row])
        mu = sampled.mu
        if max(logits) == -np.inf:
            assert sampled.error is not None
        else:
            assert logits[sampled.token_id] > -np.inf and np.isfinite(mu)
