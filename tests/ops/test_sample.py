import numpy as np
import pytest

from redline.errors import KernelError
from redline.ops.sample.reference import probabilities
from redline.ops.sample.reference import sample as reference
from tests.ops.backends import BACKENDS, KERNELS
from tests.ops.properties import assert_row_of_a_batch_equals_the_row_alone, strided

FILTERS = [
    pytest.param(*values, id="k{}-p{}-m{}".format(*values))
    for values in [
        (0, 1.0, 0.0),
        (1, 1.0, 0.0),
        (50, 1.0, 0.0),
        (10**6, 1.0, 0.0),
        (0, 0.9, 0.0),
        (0, 0.9999, 0.0),
        (0, 1e-9, 0.0),
        (0, 1.0, 0.1),
        (0, 1.0, 1.0),
        (20, 0.8, 0.05),
        (700, 0.5, 0.01),
    ]
]


def parameters(rows, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0):
    return (
        np.full(rows, temperature, np.float32),
        np.full(rows, top_k, np.int32),
        np.full(rows, top_p, np.float32),
        np.full(rows, min_p, np.float32),
    )


@pytest.mark.parametrize("ops", BACKENDS)
@pytest.mark.parametrize("top_k, top_p, min_p", FILTERS)
@pytest.mark.parametrize("temperature", [0.0, 0.3, 1.0, 5.0])
def test_equals_float64(ops, top_k, top_p, min_p, temperature, rng):
    logits = (rng.standard_normal((16, 1003)) * 3).astype(np.float32)
    settings = (*parameters(16, temperature, top_k, top_p, min_p), rng.random(16))
    got = ops.sample(strided(logits), *settings)
    np.testing.assert_array_equal(got, reference(logits.astype(np.float64), *settings))


@pytest.mark.parametrize("ops", KERNELS)
@pytest.mark.parametrize("top_k, top_p, min_p", FILTERS)
def test_frequencies_are_the_probabilities(ops, top_k, top_p, min_p, rng):
    draws = 4000
    logits = (rng.standard_normal(30) * 2).astype(np.float32)
    rows = np.broadcast_to(logits, (draws, 30))
    uniform = (np.arange(draws) + 0.5) / draws
    ids = ops.sample(rows, *parameters(draws, 0.8, top_k, top_p, min_p), uniform)
    wanted = probabilities(logits.astype(np.float64), np.float32(0.8), top_k, top_p, min_p)
    np.testing.assert_allclose(np.bincount(ids, minlength=30) / draws, wanted, atol=1.5 / draws)


def transformers_probabilities(logits, temperature, top_k, top_p, min_p):
    """As the warpers of transformers: cumulative sums from below, -infinity for what is dropped."""

    def softmax(x):
        weights = np.exp(x - np.max(x))
        return weights / weights.sum()

    scores = logits / temperature
    if top_k:
        scores = np.where(scores < np.sort(scores)[-min(top_k, len(scores))], -np.inf, scores)
    order = np.argsort(scores)
    dropped = np.cumsum(softmax(scores[order])) <= 1 - top_p
    dropped[-1] = False
    if top_p < 1:
        scores[order[dropped]] = -np.inf
    p = softmax(scores)
    return softmax(np.where(p < min_p * p.max(), -np.inf, scores))


@pytest.mark.parametrize("top_k, top_p, min_p", FILTERS)
def test_the_distribution_is_that_of_transformers(top_k, top_p, min_p, rng):
    for _ in range(50):
        logits = rng.standard_normal(200) * 3
        got = probabilities(logits, 0.7, top_k, top_p, min_p)
        np.testing.assert_allclose(
            got, transformers_probabilities(logits, 0.7, top_k, top_p, min_p), atol=1e-12
        )


@pytest.mark.parametrize("ops", BACKENDS)
def test_ties_go_to_the_lower_id(ops):
    logits = np.zeros((1, 20), np.float32)
    late = np.array([0.999])
    assert ops.sample(logits, *parameters(1, top_k=3), late)[0] == 2
    assert ops.sample(logits, *parameters(1, top_p=0.5), late)[0] == 9
    assert ops.sample(logits, *parameters(1, 0.0), late)[0] == 0


@pytest.mark.parametrize("ops", BACKENDS)
@pytest.mark.parametrize("uniform", [0.0, 0.5, np.nextafter(1.0, 0.0)])
def test_never_draws_an_impossible_token(ops, uniform):
    logits = np.full((3, 1000), -np.inf, np.float32)
    logits[0, [17, 400]] = 5.0
    logits[1, 999] = -1e30
    logits[2, 0] = 1e30
    settings = (*parameters(3), np.full(3, uniform))
    got = ops.sample(logits, *settings)
    np.testing.assert_array_equal(got, [17 if uniform < 0.5 else 400, 999, 0])


@pytest.mark.parametrize("ops", BACKENDS)
@pytest.mark.parametrize("temperature", [0.0, 1e-40, 1.0, 100.0])
def test_a_row_without_an_answer_is_minus_one(ops, temperature, rng):
    logits = rng.standard_normal((4, 37)).astype(np.float32)
    logits[0, 36] = np.nan
    logits[1] = -np.inf
    logits[2, 9] = np.inf
    with np.errstate(over="ignore", divide="ignore"):
        got = ops.sample(logits, *parameters(4, temperature, 5, 0.9, 0.1), rng.random(4))
    np.testing.assert_array_equal(got[:3], [-1, -1, 9])
    assert 0 <= got[3] < 37


@pytest.mark.parametrize("ops", KERNELS)
@pytest.mark.parametrize("top_k, top_p, min_p", FILTERS)
def test_row_of_a_batch_equals_the_row_alone(ops, top_k, top_p, min_p, rng):
    logits = (rng.standard_normal((64, 1000)) * 3).astype(np.float32)
    temperature, *filters = parameters(64, 1.0, top_k, top_p, min_p)
    temperature[::3] = 0.0
    assert_row_of_a_batch_equals_the_row_alone(ops.sample, logits, temperature, *filters, rng.random(64))


@pytest.mark.parametrize("ops", KERNELS)
def test_refuses_parameters_of_another_length(ops):
    with pytest.raises(KernelError, match="2 rows"):
        ops.sample(np.zeros((2, 8), np.float32), *parameters(1), np.zeros(2))
