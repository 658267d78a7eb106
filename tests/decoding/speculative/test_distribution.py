"""Sampling with drafts has the distribution of the model: a chi-square test over many draws."""

import random

import numpy as np
import pytest

from redline.config.sampling import SamplingParams
from redline.decoding.sampler import Sampler, SampleRow
from redline.decoding.speculative.verify import num_kept
from redline.ops.registry import backend

VOCAB, DRAWS, DRAFTS = 6, 60_000, 3


def chain(logits_VV, propose, params):
    """Draws of a model whose next token depends on the last one alone, with drafts of `propose`."""
    sampler, tokens, num_right = Sampler(backend("cpu")), [0], 0
    while len(tokens) <= DRAWS:
        draft = propose(tokens)
        rows = [SampleRow(params, params.seed, 0, len(tokens) + place, {}) for place in range(len(draft) + 1)]
        drawn = [each.token_id for each in sampler.sample(logits_VV[[tokens[-1], *draft]], rows)]
        right = num_kept(draft, drawn)
        num_right += right
        tokens += drawn[: right + 1]
    return np.array(tokens), num_right


def proposers(logits_VV):
    draw = random.Random(2)
    likeliest = logits_VV.argmax(1)

    def greedy(tokens):
        draft = [int(likeliest[tokens[-1]])]
        while len(draft) < DRAFTS:
            draft.append(int(likeliest[draft[-1]]))
        return draft

    disturbed_VV = logits_VV + np.random.default_rng(4).standard_normal(logits_VV.shape)

    def other_model(tokens):
        """The likeliest tokens of a model that resembles this one."""
        draft = [int(disturbed_VV[tokens[-1]].argmax())]
        while len(draft) < DRAFTS:
            draft.append(int(disturbed_VV[draft[-1]].argmax()))
        return draft

    return {
        "greedy": greedy,
        "other model": other_model,
        "random": lambda tokens: draw.choices(range(VOCAB), k=draw.randint(0, DRAFTS)),
        "constant": lambda tokens: [VOCAB - 1] * DRAFTS,
    }


@pytest.mark.parametrize("name", ["greedy", "other model", "random", "constant"])
@pytest.mark.parametrize("temperature", [0.7, 1.3])
def test_transitions_have_the_frequencies_of_the_model(name, temperature, rng):
    logits_VV = rng.standard_normal((VOCAB, VOCAB)).astype(np.float32) * 1.5
    params = SamplingParams(temperature=temperature, seed=9)
    tokens, num_right = chain(logits_VV, proposers(logits_VV)[name], params)
    assert num_right > DRAWS / 50, "some guesses are right"
    weights_VV = np.exp(logits_VV.astype(np.float64) / temperature)
    chances_VV = weights_VV / weights_VV.sum(1, keepdims=True)
    counts_VV = np.zeros((VOCAB, VOCAB))
    np.add.at(counts_VV, (tokens[:-1], tokens[1:]), 1)
    expected_VV = counts_VV.sum(1, keepdims=True) * chances_VV
    chi_square = ((counts_VV - expected_VV) ** 2 / expected_VV).sum()
    assert chi_square < 66.6, "at 30 degrees of freedom, once in ten thousand"
    without, _ = chain(logits_VV, lambda tokens: [], params)
    np.testing.assert_array_equal(tokens[:DRAWS], without[:DRAWS])
