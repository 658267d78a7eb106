"""Beam search against direct, slow references over a model that is a table of random chances."""

import itertools
from functools import cache

import numpy as np
import pytest

from redline.decoding.beam import BeamRules, BeamSearch
from redline.decoding.continuations import Continuations
from redline.decoding.diverse_beams import DiverseBeams
from redline.decoding.sampler import TokenLogprob
from redline.ops.registry import backend

VOCAB = 6


@cache
def chances(tokens):
    """Log-probabilities of the token that follows some others."""
    logits = 2 * np.random.default_rng([5, *tokens]).standard_normal(VOCAB)
    return logits - np.log(np.exp(logits).sum())


def row(tokens, count):
    """The likeliest tokens that follow some others."""
    logprobs = chances(tokens)
    best = np.argsort(-logprobs, kind="stable")[:count].tolist()
    return [TokenLogprob(token, float(logprobs[token]), rank, []) for rank, token in enumerate(best, 1)]


def run(search, count):
    while not search.done:
        search.advance([row(tuple(beam.token_ids), count) for beam in search.beams])
    return search


def found(hypotheses):
    return [(each.beam.token_ids, pytest.approx(each.score)) for each in hypotheses]


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, -0.5])
@pytest.mark.parametrize("ends", [frozenset(), frozenset({2}), frozenset({1, 4})])
def test_as_many_beams_as_there_are_texts_find_the_best_of_all(ends, length_penalty):
    length = 3
    texts = set()
    for tokens in itertools.product(range(VOCAB), repeat=length):
        stop = next((place for place, token in enumerate(tokens, 1) if token in ends), length)
        texts.add(tokens[:stop])
    ranked = []
    for tokens in texts:
        total = sum(chances(tokens[:place])[token] for place, token in enumerate(tokens))
        ranked.append((list(tokens), float(total / len(tokens) ** length_penalty)))
    ranked.sort(key=lambda pair: -pair[1])
    rules = BeamRules(
        width=VOCAB**length,
        max_tokens=length,
        ends=ends,
        length_penalty=length_penalty,
        early_stopping="never",
    )
    search = run(BeamSearch(rules), VOCAB)
    assert found(search.finished)[:20] == ranked[:20]
    assert search.finished[0].beam.cumulative_logprob == pytest.approx(search.finished[0].beam.score)


def slow_diverse_search(width, num_groups, penalty, ends, max_tokens, length_penalty):
    """Every group in turn ranks all tokens of all its beams, less the penalties."""
    groups = [{"beams": [((), 0.0)], "ended": [], "open": True} for _ in range(num_groups)]
    for length in range(1, max_tokens + 1):
        taken = np.zeros(VOCAB)
        for group in groups:
            if not group["open"]:
                continue
            ranked = [
                ((*tokens, token), score + chances(tokens)[token] - penalty * taken[token])
                for tokens, score in group["beams"]
                for token in range(VOCAB)
            ]
            ranked.sort(key=lambda pair: -pair[1])
            over = [tokens[-1] in ends or length == max_tokens for tokens, _ in ranked]
            for (tokens, score), ends_now in list(zip(ranked, over, strict=True))[:width]:
                if ends_now:
                    group["ended"].append((list(tokens), score / length**length_penalty))
            group["ended"] = sorted(group["ended"], key=lambda pair: -pair[1])[:width]
            group["beams"] = [pair for pair, ends_now in zip(ranked, over, strict=True) if not ends_now][
                :width
            ]
            for tokens, _ in [pair for pair in ranked if pair[0][-1] not in ends][:width]:
                taken[tokens[-1]] += 1
            full = len(group["ended"]) == width
            group["open"] = bool(group["beams"]) and not (
                full and group["beams"][0][1] / length**length_penalty <= group["ended"][-1][1]
            )
    return sorted((pair for group in groups for pair in group["ended"]), key=lambda pair: -pair[1])


@pytest.mark.parametrize("width, num_groups", [(3, 1), (1, 3), (2, 2), (2, 3)])
@pytest.mark.parametrize("penalty", [0.4, 3.0])
@pytest.mark.parametrize("ends", [frozenset(), frozenset({2}), frozenset({1, 4})])
def test_diverse_beams_equal_a_slow_search(width, num_groups, penalty, ends):
    rules = BeamRules(width=width, max_tokens=7, ends=ends, length_penalty=0.8)
    search = DiverseBeams(rules, num_groups, penalty)
    run(search, search.num_wanted)
    expected = slow_diverse_search(width, num_groups, penalty, ends, 7, 0.8)
    assert found(search.best(width * num_groups)) == expected


def test_a_high_penalty_keeps_groups_apart():
    search = run(DiverseBeams(BeamRules(width=1, max_tokens=4), 3, 100.0), VOCAB)
    columns = list(zip(*(each.beam.token_ids for each in search.best(3)), strict=True))
    assert all(len(set(column)) == 3 for column in columns)


@pytest.mark.parametrize(
    "go_on, end, early_stopping, length_penalty, num_steps",
    [
        (-0.9, -1.0, True, 1.0, 2),
        (-0.9, -1.0, False, 1.0, 9),  # each mean is better than the last
        (-0.9, -1.0, False, 0.0, 3),  # no sum is
        (-1.5, -0.2, False, 1.0, 2),  # -3.0 / 2 is below -1.7 / 2
        (-1.5, -0.2, "never", 1.0, 6),  # -9.0 / 9 is the first below it
        (-1.5, -0.2, "never", 0.0, 2),
    ],
)
def test_when_a_search_stops(go_on, end, early_stopping, length_penalty, num_steps):
    """Of two beams, with an answer to be had in every step."""
    rules = BeamRules(
        width=2,
        max_tokens=9,
        ends=frozenset({2}),
        early_stopping=early_stopping,
        length_penalty=length_penalty,
    )
    search, steps = BeamSearch(rules), 0
    while not search.done:
        search.advance([[_token(0, go_on), _token(2, end), _token(1, -17.0)] for _ in search.beams])
        steps += 1
    assert steps == num_steps


def _token(token_id, logprob):
    return TokenLogprob(token_id, logprob, 1, [])


def test_ends_beyond_the_first_places_are_no_answers():
    rules = BeamRules(width=2, max_tokens=9, ends=frozenset({3, 4}))
    search = BeamSearch(rules)
    search.advance([[_token(3, -0.1), _token(0, -0.2), _token(4, -0.3), _token(1, -0.4)]])
    assert [each.beam.token_ids for each in search.finished] == [[3]]
    assert [beam.token_ids for beam in search.beams] == [[0], [1]]


def test_min_tokens_bars_ends():
    rules = BeamRules(width=1, max_tokens=9, min_tokens=1, ends=frozenset({0}))
    search = BeamSearch(rules)
    search.advance([[_token(0, -0.1), _token(1, -0.2)]])
    assert [beam.token_ids for beam in search.beams] == [[1]] and not search.done
    search.advance([[_token(0, -0.1), _token(1, -0.2)]])
    assert [each.beam.token_ids for each in search.finished] == [[1, 0]]


def test_a_search_that_nobody_can_continue_is_over():
    search = BeamSearch(BeamRules(width=2, max_tokens=9, min_tokens=2, ends=frozenset({0})))
    assert search.advance([[_token(0, -0.1)]]) == []
    assert search.done and not search.finished


@pytest.mark.parametrize("name", ["cpu", "reference"])
def test_continuations_are_the_best_tokens_of_each_row(name, rng):
    logits = rng.standard_normal((20, 33)).astype(np.float32)
    logits[4, 7] = -np.inf
    rows = list(range(1, 20, 2)) + [4]
    best = Continuations(backend(name)).best(logits, rows, 33, 2)
    for number, tokens in zip(rows, best, strict=True):
        logprobs = logits[number] - np.log(np.exp(logits[number].astype(np.float64)).sum())
        order = np.argsort(-logprobs, kind="stable").tolist()
        assert [token.token_id for token in tokens] == order[: 32 if number == 4 else 33]
        np.testing.assert_allclose([token.logprob for token in tokens], logprobs[order][: len(tokens)], 1e-5)
        assert [token.rank for token in tokens] == list(range(1, len(tokens) + 1))
        assert tokens[0].top == [(token.token_id, token.logprob) for token in tokens[:2]]
    logits[5] = np.nan
    assert Continuations(backend(name)).best(logits, [1, 5], 3) is None
