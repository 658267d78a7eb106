"""bad_words, allowed_token_ids and processors of the user."""

import numpy as np
import pytest
import torch
from transformers.generation.logits_process import NoBadWordsLogitsProcessor

from redline.config.sampling import SamplingParams
from redline.decoding.sampler import Sampler, SampleRow
from redline.decoding.steps.bad_words import BadWords
from redline.decoding.steps.build import RowSteps, build_steps
from redline.decoding.steps.step import TokensBefore
from redline.errors import RequestError
from redline.ops.registry import backend

SIZE = 12
SAMPLER = Sampler(backend("cpu"))


class Letters:
    """Words are cut in pairs of letters; a space in front belongs to the first."""

    def encode_continuation(self, text):
        return tuple(sum(map(ord, text[start : start + 2])) % SIZE for start in range(0, len(text), 2))


def ruled_out(step, prompt, output=(), drafts=()):
    logits_V = np.zeros(SIZE, np.float32)
    step.apply(logits_V, TokensBefore(list(prompt), list(output), tuple(drafts)))
    assert set(logits_V.tolist()) <= {0.0, -np.inf}
    return np.flatnonzero(logits_V < 0).tolist()


def test_the_last_tokens_are_of_drafts_output_and_prompt():
    before = TokensBefore([1, 2, 3], [4, 5], (6, 7))
    assert [before.last(count) for count in (0, 1, 3, 5, 9)] == [
        [],
        [7],
        [5, 6, 7],
        [3, 4, 5, 6, 7],
        [1, 2, 3, 4, 5, 6, 7],
    ]


def test_bad_words_rule_out_what_transformers_rules_out():
    rng = np.random.default_rng(0)
    words = [[3], [0, 1], [1, 1], [2, 0, 1], [0, 0, 0], [1, 2, 2], [5, 1]]
    processor = NoBadWordsLogitsProcessor(words, eos_token_id=[SIZE + 5])
    step = BadWords(map(tuple, words))
    seen = set()
    for _ in range(300):
        tokens = rng.integers(0, 3, rng.integers(1, 8)).tolist()
        scores = processor(torch.tensor([tokens]), torch.zeros(1, SIZE))[0]
        expected = torch.isinf(scores).nonzero()[:, 0].tolist()
        for cut in range(1, len(tokens) + 1):
            assert ruled_out(step, tokens[:cut], tokens[cut:]) == expected
            assert ruled_out(step, tokens[:1], tokens[1:cut], tokens[cut:]) == expected
        seen.add(tuple(expected))
    assert len(seen) == 4


def test_a_word_is_spelled_with_and_without_a_space():
    spelled = {Letters().encode_continuation(text) for text in ("word", " word")}
    step = BadWords.spelled([" word"], Letters())
    assert all(ruled_out(step, [0], ids[:-1]) == [ids[-1]] for ids in spelled)
    newline = BadWords.spelled(["\n", "  "], Letters())
    assert ruled_out(newline, [0]) == sorted({ord("\n") % SIZE, (32 + ord("\n")) % SIZE, 64 % SIZE})


def test_tokens_that_the_model_does_not_have_are_no_matter():
    assert ruled_out(BadWords([(SIZE,), (1, SIZE + 3), (2,)]), [1]) == [2]


def test_nothing_but_the_allowed_tokens():
    (step,) = build_steps(SamplingParams(allowed_token_ids=[3, 7, 3]), None).logits
    logits_V = np.arange(SIZE, dtype=np.float32)
    step.apply(logits_V, TokensBefore([1], []))
    assert {token: value for token, value in enumerate(logits_V) if value > -np.inf} == {3: 3.0, 7: 7.0}


def row(**options):
    params = SamplingParams(temperature=0.0, **options)
    before = TokensBefore([1, 2], [3], (4,))
    return SampleRow(params, 1, 0, 1, {}, steps=RowSteps(build_steps(params, Letters()), before, 0.0))


def draw(**options):
    return SAMPLER.sample(np.arange(SIZE, dtype=np.float32)[None], [row(**options)])[0]


def test_a_processor_is_told_the_tokens_and_may_return_or_change():
    told = []

    def of_output(output_token_ids, logits):
        told.append(list(output_token_ids))
        output_token_ids.clear()
        logits[5] = 99.0
        return logits

    def of_both(prompt_token_ids, output_token_ids, logits):
        told.append((list(prompt_token_ids), list(output_token_ids), logits.dtype, logits.shape))
        return (logits * -1.0).astype(np.float64)

    assert draw(logits_processors=[of_output]).token_id == 5
    assert draw(logits_processors=[of_output, of_both]).token_id == 0
    assert told == [[3, 4], [3, 4], ([1, 2], [3, 4], np.float32, (SIZE,))]


def test_rules_come_behind_processors():
    def force(output_token_ids, logits):
        logits[11] = np.inf
        return logits

    assert draw(logits_processors=[force]).token_id == 11
    assert draw(logits_processors=[force], allowed_token_ids=[2, 4]).token_id == 4


@pytest.mark.parametrize(
    "processor, what",
    [
        (lambda output, logits: 1 / 0, "ZeroDivisionError"),
        (lambda output, logits: None, "shape"),
        (lambda output, logits: logits[:3], "shape"),
        (lambda output, logits: "text", "ValueError"),
        (lambda output, logits: logits * np.nan, "NaN"),
    ],
)
def test_what_a_processor_does_wrong_is_said_and_harms_no_other(processor, what):
    logits_RV = np.tile(np.arange(SIZE, dtype=np.float32), (2, 1))
    failed, fine = SAMPLER.sample(logits_RV, [row(logits_processors=[processor]), row(allowed_token_ids=[6])])
    assert isinstance(failed.error, RequestError) and what in str(failed.error)
    assert fine.token_id == 6 and fine.error is None


def test_log_probabilities_are_of_what_rules_leave():
    sampled = draw(allowed_token_ids=[2, 3], logprobs=2)
    assert sampled.logprob.top[0] == (3, pytest.approx(-np.log1p(np.exp(-1.0)), abs=1e-5))
