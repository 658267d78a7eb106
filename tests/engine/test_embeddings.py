"""Embeddings of prompts: the same bits alone and in any batch, however a prompt is computed."""

import asyncio
from itertools import pairwise

import numpy as np
import pytest

from redline import LLM, AsyncLLM, RedlineError, SamplingParams
from redline.config.pooling import PoolingParams
from redline.engine.pooling import MeanPool
from redline.engine.scheduling import build_scheduler
from tests.engine.test_scoring import DECODED, PROMPTS, SCORED, VOCAB, opened, saved
from tests.model_file import smollm2
from tests.models import checkpoints

pytestmark = pytest.mark.oracle

SEARCHED = SamplingParams(use_beam_search=True, n=2, max_tokens=8, ignore_eos=True)
LONG = [[(5 * i + j * j + 1) % VOCAB for j in range(20 + 7 * i)] for i in range(6)]


@pytest.fixture(scope="module", params=["llama", "gemma3", "gemma3n"])
def directory(request, tmp_path_factory):
    """Full attention; windows; layers that share keys and values."""
    return saved(request.param, tmp_path_factory)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return saved("llama", tmp_path_factory)


def alone(directory):
    llm = opened(directory, prefix_cache=False, max_batch=1, graph_replay=False, chunked_prefill=None)
    return np.concatenate([llm.embed([prompt]) for prompt in LONG])


def test_nothing_around_a_prompt_changes_its_vector(directory):
    expected = alone(directory)
    assert expected.shape == (6, checkpoints.SHAPE["hidden_size"]) and expected.dtype == np.float32
    assert len(np.unique(expected, axis=0)) == 6
    for options in ({}, {"chunked_prefill": 3}, {"chunked_prefill": None}, {"max_batch": 2}):
        llm = opened(directory, **options)
        for _ in range(2):  # the second time with all of it in the cache
            np.testing.assert_array_equal(llm.embed(LONG), expected, str(options))
        llm._engine.scheduler.check_integrity()
        assert llm.stats().kv_usage == 0 and llm.stats().generation_tokens == 0


@pytest.mark.parametrize("speculative", [None, "ngram", {"method": "early_exit", "layers": 1}])
def test_embedding_scoring_and_generating_side_by_side_change_nothing(llama, speculative):
    expected = alone(llama)
    searched = [opened(llama).generate(prompt, SEARCHED)[0].choices for prompt in PROMPTS[:2]]
    decoded = [opened(llama, max_batch=1).generate(prompt, DECODED)[0].choices for prompt in PROMPTS]
    scored = [output.prompt_logprobs for output in opened(llama).generate(LONG, SCORED)]
    llm = opened(llama, chunked_prefill=24, max_batch=5, speculative=speculative)
    outputs = llm.generate(
        [*PROMPTS, *LONG, *LONG, *PROMPTS[:2]],
        [DECODED] * 6 + [PoolingParams()] * 6 + [SCORED] * 6 + [SEARCHED] * 2,
    )
    assert [output.choices for output in outputs[:6]] == decoded
    np.testing.assert_array_equal([output.embedding for output in outputs[6:12]], expected)
    assert [output.prompt_logprobs for output in outputs[12:18]] == scored
    assert [output.choices for output in outputs[18:]] == searched
    assert all(output.embedding is None for output in outputs[:6] + outputs[12:])


def test_vectors_agree_with_transformers(directory, request):
    """The mean of what the output matrix reads: in transformers, the last hidden state."""
    import torch

    name = request.node.callspec.params["directory"]
    found = opened(directory, compute="float", kv_format="f32").embed(LONG)
    for ids, vector in zip(LONG, found, strict=True):
        with torch.no_grad():
            states_TD = checkpoints.model(name).model(torch.tensor([ids])).last_hidden_state[0]
        mean = states_TD.double().mean(0).numpy()
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-4)


def test_a_preempted_prompt_is_pooled_once(llama, monkeypatch):
    expected = alone(llama)
    llm = opened(llama, chunked_prefill=12, max_batch=12, prompt_share=0.1)
    scheduler = build_scheduler(llm.config, llm.spec.windows, (30,), llm.max_context)
    llm._engine.reschedule(scheduler)
    preempt, begun = scheduler._preempt, []
    monkeypatch.setattr(
        scheduler, "_preempt", lambda seq, why: (begun.append(seq.to_score), preempt(seq, why))[1]
    )
    generated = SamplingParams(max_tokens=30, ignore_eos=True)
    outputs = llm.generate([*PROMPTS, *LONG], [generated] * 6 + [PoolingParams()] * 6)
    np.testing.assert_array_equal([output.embedding for output in outputs[6:]], expected)
    assert any(left and left.start > 0 for left in begun)


def test_what_an_embedding_computed_is_in_the_cache(llama):
    llm = opened(llama)
    llm.embed([LONG[5]])
    [output] = llm.generate([LONG[5]], SamplingParams(max_tokens=1))
    assert output.metrics.num_cached_tokens > 40


def test_a_pool_does_not_see_the_cuts():
    rows = np.random.default_rng(1).normal(size=(50, 33)).astype(np.float32) * 1e3
    vectors = []
    for cuts in ([0, 50], [0, 1, 2, 50], [0, 7, 14, 33, 50]):
        pool = MeanPool()
        for start, stop in pairwise(cuts):
            pool.add(rows[start:stop])
        assert pool.num_rows == 50
        vectors.append(pool.embedding())
    assert all((vector == vectors[0]).all() for vector in vectors)
    mean = rows.astype(np.float64).mean(0)
    np.testing.assert_allclose(vectors[0], mean / np.linalg.norm(mean), rtol=1e-6)


@pytest.mark.parametrize("factor", [np.nan, np.inf, 0.0])
def test_states_without_a_mean_fail_the_request_alone(llama, monkeypatch, factor):
    llm = opened(llama)
    decoder = llm._engine.model.decoder
    normed = decoder.normed
    monkeypatch.setattr(decoder, "normed", lambda x_RD: normed(x_RD) * np.float32(factor))
    with pytest.raises(RedlineError, match="model file"), np.errstate(all="ignore"):
        llm.embed([LONG[0]])
    monkeypatch.undo()
    np.testing.assert_array_equal(llm.embed([LONG[0]])[0], alone(llama)[0])
    assert not llm._engine.has_work


def test_a_prompt_may_fill_the_context_and_not_be_empty(llama):
    llm = opened(llama)
    prompt = [n % VOCAB for n in range(64)]
    assert len(llm.embed([prompt, [1]])) == 2
    for wrong in ([*prompt, 1], []):
        with pytest.raises(RedlineError) as caught:
            llm.embed([wrong])
        assert caught.value.param == "prompt"


def test_an_async_model_gives_the_same_vectors(llama):
    async def embed_all():
        async with AsyncLLM(llama, kv_memory="1MiB", block_size=4, max_context=64) as llm:
            vectors = await asyncio.gather(*(llm.embed(prompt) for prompt in LONG))
            assert llm.stats().kv_usage == 0
            return vectors

    np.testing.assert_array_equal(asyncio.run(embed_all()), alone(llama))


@pytest.mark.model
def test_what_means_the_same_is_near():
    sky, dog, heavens = LLM(str(smollm2()), max_context=64).embed(
        ["The sky is blue", "A dog barks at the gate", "The heavens are azure"]
    )
    assert sky @ heavens > max(sky @ dog, heavens @ dog)
