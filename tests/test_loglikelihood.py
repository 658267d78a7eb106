"""LLM.loglikelihood and loglikelihood_rolling: the lm-eval protocol, on the real model."""

import math

import pytest

from redline import LLM, RedlineError, SamplingParams
from redline.engine.loglikelihood import ScoredTokens, rolling_windows
from tests.model_file import smollm2
from tests.oracle import llama_in_float32

pytestmark = pytest.mark.model

CONTEXT = "Question: Which planet is the largest of the solar system?\nAnswer:"
ANSWERS = [" Jupiter", " Saturn", " the Earth", " It is Mars"]
TEXT = "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of "


@pytest.fixture(scope="module")
def llm():
    return LLM(str(smollm2()), max_context=256, kv_memory="64MiB")


def test_pairs_are_scored_behind_their_contexts(llm):
    scores = llm.loglikelihood([(CONTEXT, answer) for answer in ANSWERS])
    start = len(llm.tokenizer.encode(CONTEXT))
    for answer, score in zip(ANSWERS, scores, strict=True):
        ids = llm.tokenizer.encode(CONTEXT + answer)
        [output] = llm.generate([ids], SamplingParams(max_tokens=0, prompt_logprobs=1))
        expected = output.prompt_logprobs[start:]
        assert score.token_ids == ids[start:] and score.num_tokens == len(ids) - start
        assert score.token_logprobs == [entry.logprob for entry in expected]
        assert score.logprob == math.fsum(score.token_logprobs)
        assert score.is_greedy == all(entry.top[0][0] == entry.token_id for entry in expected)
        assert score.perplexity == math.exp(-score.logprob / score.num_tokens)
    greedy = llm.generate(CONTEXT, SamplingParams(temperature=0.0, max_tokens=3))[0].text
    assert [
        score.is_greedy for score in llm.loglikelihood([(CONTEXT, greedy), (CONTEXT, greedy + " x")])
    ] == [
        True,
        False,
    ]


def test_token_ids_and_the_spaces_between_say_the_same(llm):
    ids = llm.tokenizer.encode(CONTEXT), llm.tokenizer.encode(ANSWERS[3])
    spaces = (CONTEXT + " ", ANSWERS[3][1:])
    by_text, by_ids, by_spaces = llm.loglikelihood([(CONTEXT, ANSWERS[3]), ids, spaces])
    assert by_text == by_ids == by_spaces


def test_without_a_context_a_text_begins(llm):
    start = [llm.tokenizer.bos_token_id]
    text, ids, rolling = [
        *llm.loglikelihood([("", TEXT), (start, llm.tokenizer.encode(TEXT))]),
        *llm.loglikelihood_rolling(TEXT),
    ]
    assert text == ids == rolling
    assert text.token_ids == llm.tokenizer.encode(TEXT)
    assert llm.loglikelihood([(" ", TEXT), ([], [5])])[0].token_ids == llm.tokenizer.encode(" " + TEXT)


def test_a_shared_context_is_computed_once():
    llm = LLM(str(smollm2()), max_context=256, kv_memory="64MiB", chunked_prefill=64)
    context = TEXT * 4
    computed = []
    forward = llm._engine.model.decoder.hidden
    llm._engine.model.decoder.hidden = lambda batch, *rest: (
        computed.append(len(batch.token_ids_T)),
        forward(batch, *rest),
    )[1]
    scores = llm.loglikelihood([(context, answer) for answer in ANSWERS * 2])
    num_context = len(llm.tokenizer.encode(context))
    num_scored = sum(score.num_tokens for score in scores)
    assert sum(computed) < num_context + num_scored + 8 * 16  # a block of the context for each
    assert scores == LLM(
        str(smollm2()), max_context=256, kv_memory="64MiB", prefix_cache=False, max_batch=1
    ).loglikelihood([(context, answer) for answer in ANSWERS * 2])


def test_windows_score_each_token_once():
    text = list(range(10))
    assert list(rolling_windows(text, [99], 5)) == [
        ScoredTokens([99, 0, 1, 2, 3], 1),
        ScoredTokens([3, 4, 5, 6, 7], 1),
        ScoredTokens([5, 6, 7, 8, 9], 3),
    ]
    assert list(rolling_windows(text, [99], 11)) == [ScoredTokens([99, *text], 1)]
    for size in range(2, 14):
        windows = list(rolling_windows(text, [99], size))
        assert [token for ids, start in windows for token in ids[start:]] == text
        assert all(len(ids) <= size and start >= 1 for ids, start in windows)


def test_a_text_longer_than_the_context_is_scored_in_windows(llm):
    long = TEXT * 30
    [score] = llm.loglikelihood_rolling([long])
    ids = llm.tokenizer.encode(long)
    assert score.token_ids == ids and len(ids) > 2 * llm.max_context
    first = [llm.tokenizer.bos_token_id, *ids[:255]]
    [output] = llm.generate([first], SamplingParams(max_tokens=0, prompt_logprobs=0))
    assert score.token_logprobs[:255] == [entry.logprob for entry in output.prompt_logprobs[1:]]


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.parametrize("compute, kv_format, most", [("float", "f32", 1e-4), ("int8", "f16", 0.5)])
def test_scores_agree_with_transformers(compute, kv_format, most):
    import torch

    judge = llama_in_float32(smollm2())
    llm = LLM(str(smollm2()), max_context=256, kv_memory="64MiB", compute=compute, kv_format=kv_format)
    text = TEXT + CONTEXT
    [score] = llm.loglikelihood_rolling(text)
    ids = [llm.tokenizer.bos_token_id, *llm.tokenizer.encode(text)]
    with torch.no_grad():
        expected = judge(torch.tensor([ids])).logits[0].log_softmax(-1)
    differences = [
        abs(expected[place, token].item() - got)
        for place, (token, got) in enumerate(zip(ids[1:], score.token_logprobs, strict=True))
    ]
    print(f"{compute}: at most {max(differences):.4f}, on average {sum(differences) / len(differences):.5f}")
    assert max(differences) < most and sum(differences) / len(differences) < most / 5


@pytest.mark.parametrize(
    "pairs, said",
    [
        ("ab", "pairs is str"),
        ([("a", "b", "c")], r"pairs\[1\]"),
        (["ab"], r"pairs\[1\]"),
        ([("a", [1])], "both must be"),
        ([("a", None)], "both must be"),
        ([("The cat", "")], "no token of its own"),
        ([([1], [])], "no token of its own"),
        ([("a b", "\ud800")], "Unicode"),
        ([([1], [49152])], "ids lie between"),
        ([("x " * 300, "y")], "Shorten"),
    ],
)
def test_wrong_pairs_are_refused_before_anything_runs(llm, pairs, said):
    before = llm.stats().num_steps
    with pytest.raises(RedlineError, match=said):
        llm.loglikelihood([("a", " b"), *pairs] if isinstance(pairs, list) else pairs)
    assert llm.stats().num_steps == before


def test_an_empty_text_is_refused(llm):
    with pytest.raises(RedlineError, match="nothing to score"):
        llm.loglikelihood_rolling(["a", ""])
    assert llm.loglikelihood([]) == [] and llm.loglikelihood_rolling([]) == []
