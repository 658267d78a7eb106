"""Log-probabilities of prompts: those of decoding, bit for bit, however a prompt is computed."""

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from redline import LLM, RedlineError, SamplingParams
from redline.engine.scheduling import build_scheduler
from redline.engine.scoring import SLICE_ROWS
from tests.models import checkpoints

pytestmark = pytest.mark.oracle

VOCAB = checkpoints.SHAPE["vocab_size"]
DECODED = SamplingParams(temperature=0.0, max_tokens=30, ignore_eos=True, logprobs=3)
SCORED = SamplingParams(max_tokens=0, prompt_logprobs=3)
PROMPTS = [[(7 * i + 3 * j * j) % VOCAB for j in range(5 + 3 * i)] for i in range(6)]


@pytest.fixture(scope="module", params=["llama", "gemma3", "gemma3n"])
def directory(request, tmp_path_factory):
    """Full attention; windows; layers that share keys and values, and compute only the rows they must."""
    return saved(request.param, tmp_path_factory)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return saved("llama", tmp_path_factory)


def saved(name, tmp_path_factory):
    path = checkpoints.save_directory(name, tmp_path_factory.mktemp("model") / name)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())[:VOCAB]
    tokenizer = Tokenizer(models.BPE({letter: index for index, letter in enumerate(letters)}, []))
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(path / "tokenizer.json"))
    return str(path)


def opened(directory, **options):
    return LLM(directory, **{"kv_memory": "1MiB", "block_size": 4, "max_context": 64} | options)


def decoded_one_by_one(directory):
    """Whole texts, and the log-probabilities that decoding gave for the tokens behind the prompts."""
    llm = opened(directory, prefix_cache=False, max_batch=1, graph_replay=False)
    outputs = [llm.generate(prompt, DECODED)[0] for prompt in PROMPTS]
    texts = [prompt + output.choices[0].token_ids for prompt, output in zip(PROMPTS, outputs, strict=True)]
    return texts, [output.choices[0].logprobs for output in outputs]


def behind_the_prompts(outputs):
    return [output.prompt_logprobs[len(p) :] for output, p in zip(outputs, PROMPTS, strict=True)]


def test_scores_are_those_of_decoding(directory):
    texts, decoded = decoded_one_by_one(directory)
    for options in ({}, {"chunked_prefill": 3}, {"chunked_prefill": None}, {"max_batch": 2}):
        llm = opened(directory, **options)
        for _ in range(2):  # the second time with all of it in the cache
            outputs = llm.generate(texts, SCORED)
            assert behind_the_prompts(outputs) == decoded, options
            assert [output.prompt_logprobs[0] for output in outputs] == [None] * len(texts)
            assert all(len(output.prompt_logprobs) == len(output.prompt_token_ids) for output in outputs)
        llm._engine.scheduler.check_integrity()


@pytest.mark.parametrize("speculative", [None, "ngram"])
def test_scoring_and_generating_side_by_side_change_nothing(llama, speculative):
    texts, decoded = decoded_one_by_one(llama)
    llm = opened(llama, chunked_prefill=24, max_batch=4, speculative=speculative)
    both = SamplingParams(temperature=0.0, max_tokens=30, ignore_eos=True, logprobs=3, prompt_logprobs=2)
    outputs = llm.generate(
        [*texts, *PROMPTS, *PROMPTS], [SCORED] * len(texts) + [DECODED] * len(PROMPTS) + [both] * len(PROMPTS)
    )
    assert behind_the_prompts(outputs[:6]) == decoded
    assert [output.choices[0].logprobs for output in outputs[6:]] == decoded * 2
    assert [output.prompt_logprobs for output in outputs[6:12]] == [None] * 6
    for scored, output in zip(outputs[:6], outputs[12:], strict=True):
        prompt = scored.prompt_logprobs[: len(output.prompt_token_ids)]
        assert [entry and (entry.logprob, entry.rank, entry.top[:2]) for entry in prompt] == [
            entry and (entry.logprob, entry.rank, entry.top) for entry in output.prompt_logprobs
        ]


def test_scores_agree_with_transformers(llama):
    from torch import tensor

    texts, _ = decoded_one_by_one(llama)
    llm = opened(llama, compute="float", kv_format="f32")
    for output in llm.generate(texts, SamplingParams(max_tokens=0, prompt_logprobs=5)):
        ids = output.prompt_token_ids
        expected_TV = tensor(checkpoints.logits("llama", ids)).log_softmax(-1).numpy()
        for place, entry in enumerate(output.prompt_logprobs[1:], 1):
            row = expected_TV[place - 1]
            assert entry.token_id == ids[place] and abs(entry.logprob - row[ids[place]]) < 1e-4
            assert [token_id for token_id, _ in entry.top] == np.argsort(-row)[:5].tolist()
            np.testing.assert_allclose([logprob for _, logprob in entry.top], np.sort(row)[:-6:-1], atol=1e-4)
            assert entry.rank == 1 + (row > row[ids[place]]).sum()


def test_penalties_and_bias_are_for_what_is_sampled(llama):
    [plain] = opened(llama).generate(PROMPTS[5], SCORED)
    biased = SamplingParams(
        max_tokens=4, prompt_logprobs=3, logit_bias={3: 50.0}, repetition_penalty=3.0, temperature=0.0
    )
    [output] = opened(llama).generate(PROMPTS[5], biased)
    assert output.prompt_logprobs == plain.prompt_logprobs
    assert output.choices[0].token_ids == [3] * 4


@pytest.mark.parametrize("prefix_cache", [True, False])
def test_a_preempted_prompt_is_scored_once(llama, prefix_cache, monkeypatch):
    texts, decoded = decoded_one_by_one(llama)
    llm = opened(llama, chunked_prefill=24, max_batch=6, prompt_share=0.2, prefix_cache=prefix_cache)
    scheduler = build_scheduler(llm.config, llm.spec.windows, (30,), llm.max_context)
    llm._engine.reschedule(scheduler)
    preempt, begun = scheduler._preempt, []
    monkeypatch.setattr(
        scheduler, "_preempt", lambda seq, why: (begun.append(seq.to_score), preempt(seq, why))[1]
    )
    params = SamplingParams(max_tokens=12, ignore_eos=True, prompt_logprobs=3)
    assert behind_the_prompts(llm.generate(texts, params)) == decoded
    assert any(left and left.start > 0 for left in begun)


def test_what_is_not_scored_comes_from_the_cache(llama):
    text = decoded_one_by_one(llama)[0][5]
    llm = opened(llama)
    [whole] = llm.generate(text, SCORED)
    assert whole.metrics.num_cached_tokens == 0
    assert llm.generate(text, SCORED)[0].metrics.num_cached_tokens == 0  # all of it is scored
    for start in (1, 2, 8, 9, 10, len(text) - 1, len(text)):
        part = SamplingParams(max_tokens=0, prompt_logprobs=3, logprob_start_len=start)
        [output] = llm.generate(text, part)
        assert output.prompt_logprobs == [None] * start + whole.prompt_logprobs[start:]
        assert output.metrics.num_cached_tokens == min(start - 1, len(text) - 2)


def test_those_with_the_same_context_compute_it_once(llama):
    context = PROMPTS[5] * 2
    texts = [[*context, n, n + 1] for n in range(8)]
    params = SamplingParams(max_tokens=0, prompt_logprobs=0, logprob_start_len=len(context))
    llm = opened(llama)
    outputs = llm.generate(texts, params)
    cached = [output.metrics.num_cached_tokens for output in outputs]
    whole_blocks = (len(context) - 1) // 4 * 4
    assert cached[0] == 0 and min(cached[1:]) >= whole_blocks
    assert outputs[3].prompt_logprobs == opened(llama).generate(texts[3], params)[0].prompt_logprobs


def test_a_prompt_that_is_scored_whole_waits_for_nobody(llama):
    """Nothing of what another computes could be of use to it."""
    llm = opened(llama, chunked_prefill=64)
    outputs = llm.generate([PROMPTS[5], PROMPTS[5]], SCORED)
    assert outputs[0].prompt_logprobs == outputs[1].prompt_logprobs
    assert llm.stats().num_steps == 1


def test_logits_are_made_a_slice_at_a_time(llama, monkeypatch):
    llm = opened(llama, max_batch=2)
    decoder, rows = llm._engine.model.decoder, []
    logits = decoder.logits
    monkeypatch.setattr(decoder, "logits", lambda x_RD: (rows.append(len(x_RD)), logits(x_RD))[1])
    llm.generate([[n % VOCAB for n in range(60)]] * 2, SamplingParams(max_tokens=1, prompt_logprobs=0))
    assert sum(rows) == 2 * 60 and max(rows) == SLICE_ROWS


def test_nothing_but_the_prompt(llama):
    llm = opened(llama)
    [output] = llm.generate(PROMPTS[2], SCORED)
    [choice] = output.choices
    assert (choice.token_ids, choice.text, choice.finish_reason, choice.logprobs) == ([], "", "length", None)
    metrics = output.metrics
    assert (metrics.num_prompt_tokens, metrics.num_output_tokens) == (len(PROMPTS[2]), 0)
    assert 0 < metrics.queue_s < metrics.ttft_s == metrics.e2e_s and metrics.tpot_s == 0
    in_two = opened(llama, chunked_prefill=16).generate([PROMPTS[5][:18]], SCORED)[0]  # 16 tokens, then 1
    assert in_two.prompt_logprobs == opened(llama).generate([PROMPTS[5][:18]], SCORED)[0].prompt_logprobs
    assert in_two.choices[0].token_ids == [] and in_two.metrics.num_output_tokens == 0
    assert llm.generate([[5]], SCORED)[0].prompt_logprobs == [None]
    assert llm.generate(PROMPTS[2], SamplingParams(max_tokens=0))[0].prompt_logprobs is None
    [delta] = llm.stream(PROMPTS[2], SCORED)
    assert delta.last and delta.prompt_logprobs == output.prompt_logprobs
    counts = llm.stats().requests
    assert (counts.finished, counts.in_flight, llm.stats().generation_tokens) == (4, 0, 0)


def test_it_comes_with_the_first_delta_of_the_first_choice(llama):
    params = SamplingParams(max_tokens=5, n=3, prompt_logprobs=1, ignore_eos=True, seed=1)
    deltas = list(opened(llama).stream(PROMPTS[1], params))
    assert len(deltas) == 15 and len(deltas[0].prompt_logprobs) == len(PROMPTS[1])
    assert all(delta.prompt_logprobs is None for delta in deltas[1:])


def test_a_prompt_may_fill_the_context_when_nothing_follows(llama):
    llm = opened(llama)
    prompt = [n % VOCAB for n in range(64)]
    assert len(llm.generate([prompt], SCORED)[0].prompt_logprobs) == 64
    for too_long, params in ((prompt, SamplingParams(max_tokens=1)), ([*prompt, 1], SCORED)):
        with pytest.raises(RedlineError, match="Shorten the prompt") as caught:
            llm.generate([too_long], params)
        assert caught.value.param == "prompt"


def test_logits_that_are_no_numbers_fail_the_request_alone(llama, monkeypatch):
    llm = opened(llama)
    decoder = llm._engine.model.decoder
    logits = decoder.logits
    monkeypatch.setattr(decoder, "logits", lambda x_RD: logits(x_RD) * np.float32("nan"))
    with pytest.raises(RedlineError, match="no usable distribution"):
        llm.generate(PROMPTS[3], SCORED)
    monkeypatch.undo()
    assert llm.generate(PROMPTS[3], SCORED)[0].prompt_logprobs[1].logprob < 0
    assert not llm._engine.has_work


@pytest.mark.parametrize(
    "fields, param",
    [
        ({"prompt_logprobs": -1}, "prompt_logprobs"),
        ({"prompt_logprobs": 21}, "prompt_logprobs"),
        ({"prompt_logprobs": True}, "prompt_logprobs"),
        ({"logprob_start_len": 1}, "logprob_start_len"),
        ({"logprob_start_len": -1, "prompt_logprobs": 0}, "logprob_start_len"),
        ({"logprob_start_len": 6, "prompt_logprobs": 0}, "logprob_start_len"),
        ({"max_tokens": 0, "n": 2}, "n"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(llama, fields, param):
    with pytest.raises(RedlineError, match=param) as caught:
        opened(llama).generate(PROMPTS[0], SamplingParams(**fields))
    assert caught.value.param == param
