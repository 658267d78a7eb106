import numpy as np
import pytest

from redline.config.sampling import SamplingParams
from redline.decoding.sampler import MAX_GATHERED, Sampler, SampleRow
from redline.ops.registry import backend

SAMPLER = Sampler(backend("cpu"))


def row(params, *, prompt=(0,), counts=None, forbidden=None, position=0):
    return SampleRow(
        params=params,
        seed=1,
        stream=0,
        position=position,
        counts=dict.fromkeys(prompt, 0) | (counts or {}),
        forbidden=forbidden,
    )


def sample(logits, *rows):
    return SAMPLER.sample(np.array([logits] * len(rows), np.float32), list(rows))


def greedy(**options):
    return SamplingParams(temperature=0.0, **options)


def test_the_bias_comes_before_the_penalties():
    params = greedy(logit_bias={1: 5.0}, repetition_penalty=2.0, logprobs=0)
    [drawn] = sample([2.1, -1.0, 0.0], row(params, prompt=(1,)))
    # (-1 + 5) / 2 = 2 loses; -1 * 2 + 5 = 3 would win.
    assert drawn.token_id == 0
    expected = 2.1 - np.log(np.exp([2.1, 2.0, 0.0]).sum())
    assert drawn.logprob.logprob == pytest.approx(expected, abs=1e-5)


def test_each_penalty_counts_what_it_is_meant_to():
    logits = [3.0, 2.9, 0.0]
    for name in ("presence_penalty", "frequency_penalty"):
        params = greedy(**{name: 0.5})
        assert sample(logits, row(params, prompt=(0,)))[0].token_id == 0  # the prompt is not the output
        assert sample(logits, row(params, counts={0: 1}))[0].token_id == 1
    twice = row(greedy(frequency_penalty=0.1), counts={0: 1, 1: 3})
    assert sample([3.0, 3.1, 0.0], twice)[0].token_id == 0


def test_forbidden_tokens_are_never_drawn_whatever_their_bias():
    params = greedy(logit_bias={0: 100.0})
    assert sample([9.0, 1.0, 0.0], row(params, forbidden=frozenset({0})))[0].token_id == 1


def test_an_end_of_sequence_beyond_the_matrices_is_no_matter():
    drawn = sample([9.0, 1.0, 0.0], row(greedy(), forbidden=frozenset({0, 3, 70_000})))
    assert drawn[0].token_id == 1


def test_a_row_is_drawn_alike_alone_and_among_others():
    rows = [row(SamplingParams(temperature=1.0, top_p=0.9), position=place) for place in range(8)]
    rows.insert(3, row(greedy(logprobs=2)))
    logits = np.random.default_rng(0).standard_normal(50).astype(np.float32)
    together = sample(logits, *rows)
    assert [sample(logits, each)[0] for each in rows] == together
    assert len({drawn.token_id for drawn in together}) > 2


def test_a_row_without_a_distribution_has_an_error_and_harms_no_other():
    rows = [row(greedy(), forbidden=frozenset(range(3))), row(greedy(logprobs=1))]
    failed, fine = sample([1.0, 2.0, 0.0], *rows)
    assert failed.error is not None and failed.token_id == -1
    assert (fine.token_id, fine.logprob.top[0][0], fine.error) == (1, 1, None)


def test_many_rows_get_the_log_probabilities_that_each_gets_alone():
    rows = [row(greedy(logprobs=index % 4)) for index in range(2 * MAX_GATHERED + 3)]
    logits = np.random.default_rng(2).standard_normal((len(rows), 11)).astype(np.float32)
    together = SAMPLER.sample(logits.copy(), rows)
    alone = [SAMPLER.sample(logits[index : index + 1].copy(), [each]) for index, each in enumerate(rows)]
    assert together == [result for [result] in alone]
    assert [len(each.logprob.top) for each in together[:4]] == [0, 1, 2, 3]
