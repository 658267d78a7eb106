"""Speculation on the real model: the same bits with and without, whatever is guessed."""

import random

import pytest

from redline import LLM, SamplingParams
from redline.core.sequence import Status
from redline.engine import speculation
from redline.engine.speculation import AdaptiveSpeculation
from tests.model_file import smollm2

pytestmark = pytest.mark.model

TEXT = (
    "The quick brown fox jumps over the lazy dog. The quick brown fox sleeps. The lazy dog barks at the fox. "
)
PROMPTS = [
    TEXT * 2 + "The quick",
    "one, two, three, four, one, two, three, four, one, two,",
    '[{"id": 1, "name": "Ada"}, {"id": 2, "name": "Ben"}, {"id": 3,',
    "Once upon a time",
    "def get_x(self):\n    return self._x\n\ndef get_y(self):\n    return self._y\n\ndef get_z",
]
GREEDY = {"temperature": 0.0, "max_tokens": 40, "ignore_eos": True, "logprobs": 1}
PARAMS = {
    "greedy": SamplingParams(**GREEDY),
    "seeded": SamplingParams(temperature=0.8, top_p=0.9, seed=3, max_tokens=40, logprobs=1),
    "penalties": SamplingParams(
        **GREEDY, repetition_penalty=1.2, presence_penalty=0.4, frequency_penalty=0.3
    ),
    "stops": SamplingParams(temperature=0.0, max_tokens=40, stop=[" dog", "four"], min_tokens=6, logprobs=1),
    "choices": SamplingParams(temperature=0.7, seed=5, n=3, max_tokens=24, logprobs=1),
}
OPTIONS = {"max_context": 512, "kv_memory": "64MiB"}


def answers(outputs):
    return [
        [
            (
                choice.text,
                choice.finish_reason,
                [(each.token_id, each.logprob) for each in choice.logprobs or []],
            )
            for choice in output.choices
        ]
        for output in outputs
    ]


class Guesser:
    """Knows what will come, and lies about it at times."""

    def __init__(self, right, rate):
        self.right, self.rate = right, rate

    def start(self, token_ids, owner):
        drafter = Guesser({}, self.rate)
        drafter.right, drafter.tokens = self.right, list(token_ids)
        drafter.draw = random.Random(len(token_ids))
        return drafter

    def ended(self, token_ids, owner):
        pass

    def extend(self, token_ids):
        self.tokens += token_ids

    def propose(self, most):
        known = len(self.tokens)
        whole = next((each for each in self.right if each[:known] == self.tokens), self.tokens)
        true = whole[known : known + self.draw.randint(0, most)]
        return [token if self.draw.random() < self.rate else (token + 1) % 1000 for token in true]


@pytest.fixture(scope="module")
def plain():
    llm = LLM(str(smollm2()), **OPTIONS)
    return {name: llm.generate(PROMPTS, params) for name, params in PARAMS.items()}


@pytest.fixture
def computes_all(monkeypatch):
    """Every draft is computed, whether it pays or not."""

    def lengths(drafts, num_rows, max_rows, cost):
        return [draft.length for draft in drafts]

    monkeypatch.setattr(speculation, "draft_lengths", lengths)


def build(proposer=None, num_drafts=15, **options):
    llm = LLM(str(smollm2()), **{**OPTIONS, "speculative": "ngram", **options})
    if proposer is not None:
        llm._engine._speculation = AdaptiveSpeculation(proposer, num_drafts, 64)
    return llm


def check(llm, plain, names=PARAMS):
    for name in names:
        got = llm.generate(PROMPTS, PARAMS[name])
        assert answers(got) == answers(plain[name]), name
        llm._engine.scheduler.check_integrity()
    return got


@pytest.mark.parametrize("num_speculative_tokens", [1, 2, 3, 7, 15])
def test_ngrams_of_every_length_change_nothing(plain, computes_all, num_speculative_tokens):
    llm = build(speculative={"method": "ngram", "num_speculative_tokens": num_speculative_tokens})
    outputs = check(llm, plain, ["penalties", "stops", "choices", "seeded", "greedy"])
    metrics = [output.metrics for output in outputs]
    assert sum(each.num_accepted_tokens for each in metrics) > 30
    assert all(each.num_accepted_tokens <= each.num_draft_tokens for each in metrics)


@pytest.mark.parametrize("rate", [0.0, 0.5, 0.9, 1.0])
def test_guesses_right_or_wrong_change_nothing(plain, computes_all, rate):
    right = [
        [*output.prompt_token_ids, *choice.token_ids]
        for outputs in plain.values()
        for output in outputs
        for choice in output.choices
    ]
    check(build(Guesser(right, rate), num_drafts=9), plain)


def test_only_guesses_that_are_part_of_the_answer_count_as_accepted(plain, computes_all):
    """Those behind a stop string or a stop token may be right, and nobody gets them."""
    right = [[*output.prompt_token_ids, *output.choices[0].token_ids] for output in plain["greedy"]]
    stop_token_ids = [output.choices[0].token_ids[8] for output in plain["greedy"]]
    params = SamplingParams(**GREEDY, stop_token_ids=stop_token_ids)
    llm = build(Guesser(right, 1.0))
    outputs = llm.generate(PROMPTS, params)
    for metrics in [output.metrics for output in outputs]:
        assert metrics.num_output_tokens <= 9
        assert 0 <= metrics.num_accepted_tokens < metrics.num_output_tokens
    accepted = sum(output.metrics.num_accepted_tokens for output in outputs)
    assert llm.stats().accepted_tokens == accepted > 0


@pytest.mark.parametrize(
    "options",
    [
        {"max_batch": 1},
        {"kv_memory": "4MiB", "max_context": 160},  # preempts
        {"prefix_cache": False, "chunked_prefill": 8},
        {"graph_replay": False},
        {"block_size": 5},
        {"batching": "static"},
    ],
    ids=str,
)
def test_beside_other_techniques(plain, computes_all, options):
    check(build(**options), plain, ["greedy", "seeded"])


@pytest.mark.parametrize("method", ["ngram", "history"])
def test_adapts_and_changes_nothing(plain, method):
    check(build(speculative=method), plain)


def test_earlier_answers_change_nothing_and_are_found_again(plain, computes_all):
    llm = build(speculative="history")
    first = check(llm, plain, ["greedy"])
    again = check(llm, plain, ["greedy"])
    kept = [sum(each.metrics.num_accepted_tokens for each in outputs) for outputs in (first, again)]
    assert kept[1] > max(kept[0], 120), "nearly all of what was answered before"


def test_drafts_are_replayed(computes_all):
    llm = build()
    llm.generate(PROMPTS[1], PARAMS["greedy"])
    shapes = [key[:2] for key in llm._engine._forward._graphs]
    assert any(num_tokens > num_seqs for num_tokens, num_seqs in shapes), shapes


def test_says_what_it_guessed(computes_all):
    llm = build()
    (output,) = llm.generate([PROMPTS[1]], PARAMS["greedy"])
    said = " ".join(llm._engine.explain(output.request_id)[0])
    assert "guessed token" in said


def test_forgets_sequences_that_ended(computes_all):
    llm = build()
    llm.generate(PROMPTS, PARAMS["choices"])
    assert not llm._engine._speculation._followed


def test_nothing_is_drafted_for_who_waits():
    class Waiting:
        status, num_uncomputed_tokens = Status.WAITING, 1

    assert AdaptiveSpeculation(Guesser([], 1.0), 4, 16).drafts([Waiting()]) == {}
