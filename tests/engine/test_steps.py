"""Steps of sampling on the real model: the same tokens alone, in any batch, beside every technique."""

import pytest

from redline import LLM, SamplingParams
from redline.errors import RequestError
from tests.engine import test_speculation
from tests.engine.test_speculation import OPTIONS, Guesser, answers, build, computes_all
from tests.model_file import smollm2

pytestmark = pytest.mark.model
assert computes_all  # a fixture


def prefer_long_words(prompt_token_ids, output_token_ids, logits):
    logits[: 1000 + 10 * len(output_token_ids) + len(prompt_token_ids)] -= 2.0
    return logits


PROMPTS = test_speculation.PROMPTS[:3]
COMMON = {"max_tokens": 16, "ignore_eos": True, "logprobs": 1}
PARAMS = {
    "typical": SamplingParams(**COMMON, seed=1, typical_p=0.4, temperature=0.7),
    "sigma": SamplingParams(**COMMON, seed=2, top_n_sigma=1.0, temperature=1.5, min_p=0.01),
    "xtc": SamplingParams(**COMMON, seed=3, xtc_probability=0.5, min_p=0.05, n=2),
    "mirostat": SamplingParams(**COMMON, seed=4, mirostat=2, mirostat_tau=2.0, mirostat_eta=0.5, n=3),
    "mirostat 1": SamplingParams(**COMMON, seed=5, mirostat=1, mirostat_tau=3.0, mirostat_eta=0.3),
    "dry": SamplingParams(**COMMON, temperature=0.0, dry_multiplier=0.4, dry_sequence_breakers=["\n", "the"]),
    "dry choices": SamplingParams(**COMMON, seed=6, dry_multiplier=0.8, dry_penalty_last_n=20, n=3),
    "words": SamplingParams(**COMMON, temperature=0.0, bad_words=["fox", "lazy dog", "three", "name"]),
    "allowed": SamplingParams(**COMMON, temperature=0.0, allowed_token_ids=list(range(0, 3000, 2))),
    "processor": SamplingParams(**COMMON, temperature=0.0, logits_processors=[prefer_long_words]),
}


@pytest.fixture(scope="module")
def llm():
    return LLM(str(smollm2()), **OPTIONS)


def run(llm, names=PARAMS):
    """Each prompt with each step, all in one batch: the answers by names."""
    outputs = llm.generate(
        [prompt for prompt in PROMPTS for _ in names], [PARAMS[name] for name in names] * len(PROMPTS)
    )
    llm._engine.scheduler.check_integrity()
    return {name: outputs[index :: len(names)] for index, name in enumerate(names)}


@pytest.fixture(scope="module")
def plain(llm):
    return run(llm)


def check(llm, plain, names=PARAMS):
    got = run(llm, names)
    for name in names:
        assert answers(got[name]) == answers(plain[name]), name
    return [output.metrics for outputs in got.values() for output in outputs]


@pytest.mark.parametrize("name", PARAMS)
def test_alone_and_in_a_batch_of_all_steps(llm, plain, name):
    assert answers(llm.generate(PROMPTS[1], PARAMS[name])) == answers(plain[name][1:2])


def test_each_step_changes_something(llm, plain):
    usual = [
        SamplingParams(**COMMON, seed=each.seed, temperature=each.temperature) for each in PARAMS.values()
    ]
    without = llm.generate([prompt for prompt in PROMPTS for _ in usual], usual * len(PROMPTS))
    for index, (name, outputs) in enumerate(plain.items()):
        assert [each.text for each in outputs] != [each.text for each in without[index :: len(usual)]], name


def test_ngrams_change_nothing(plain, computes_all):
    metrics = check(build(speculative={"method": "ngram", "num_speculative_tokens": 7}), plain)
    assert sum(each.num_draft_tokens for each in metrics) > 100
    assert sum(each.num_accepted_tokens for each in metrics) > 20


def test_guesses_right_or_wrong_change_nothing(plain, computes_all):
    right = [
        [*output.prompt_token_ids, *choice.token_ids]
        for outputs in plain.values()
        for output in outputs
        for choice in output.choices
    ]
    metrics = check(build(Guesser(right, 0.8), num_drafts=6), plain)
    assert sum(each.num_accepted_tokens for each in metrics) > 100


@pytest.mark.parametrize(
    "options",
    [
        {"kv_memory": "4MiB", "max_context": 160},  # preempts
        {"prefix_cache": False, "chunked_prefill": 48, "graph_replay": False},
    ],
    ids=str,
)
def test_beside_other_techniques(plain, computes_all, options):
    check(build(**options), plain, ["xtc", "mirostat", "dry choices"])


def test_bad_words_are_not_written(llm):
    params = SamplingParams(temperature=0.0, max_tokens=12)
    usual = llm.generate("one, two, three, one, two, three, one,", params)[0].text
    assert "three" in usual
    for words in (["three"], [" two, three"]):
        params = SamplingParams(temperature=0.0, max_tokens=12, bad_words=words)
        text = llm.generate("one, two, three, one, two, three, one,", params)[0].text
        assert words[0].strip() not in text and text


def test_a_processor_that_fails_ends_its_request_alone(llm):
    def fails(output_token_ids, logits):
        if len(output_token_ids) == 3:
            raise KeyError("here")
        return logits

    good = SamplingParams(temperature=0.0, max_tokens=8)
    expected = llm.generate("The sky is", good)[0].text
    running = llm.stream("The sky is", good)
    text = next(running).text
    with pytest.raises(RequestError, match="fails raised KeyError") as caught:
        llm.generate("The sky is", SamplingParams(max_tokens=8, logits_processors=[fails]))
    assert caught.value.param == "logits_processors"
    assert text + "".join(delta.text for delta in running) == expected


def test_allowed_tokens_beyond_the_vocabulary_are_refused(llm):
    with pytest.raises(RequestError, match="allowed_token_ids has token id 49152") as caught:
        llm.generate("x", SamplingParams(allowed_token_ids=[1, 49152]))
    assert caught.value.param == "allowed_token_ids"
