"""Beam search on the real model: what transformers finds, the memory it takes, and how it is asked for."""

import pytest

from redline import LLM, SamplingParams
from tests.model_file import smollm2
from tests.oracle import llama_in_float32

pytestmark = pytest.mark.model

QUESTION = [{"role": "user", "content": "Name three colours of the rainbow."}]
BEAMS = SamplingParams(use_beam_search=True, best_of=4, n=4, max_tokens=24)


@pytest.fixture(scope="module")
def llm():
    return LLM(str(smollm2()), max_context=1024, kv_memory="128MiB", compute="float", kv_format="f32")


@pytest.mark.oracle
def test_the_answers_of_transformers(llm):
    torch = pytest.importorskip("torch")
    [output] = llm.chat(QUESTION, BEAMS)
    prompt = output.prompt_token_ids
    with torch.no_grad():
        found = llama_in_float32(smollm2()).generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            do_sample=False,
            num_beams=4,
            num_return_sequences=4,
            max_new_tokens=24,
            eos_token_id=sorted(llm.tokenizer.eos_token_ids),
            pad_token_id=0,
            return_dict_in_generate=True,
            output_scores=True,
        )
    for choice, tokens in zip(output.choices, found.sequences[:, len(prompt) :].tolist(), strict=True):
        assert tokens[: len(choice.token_ids)] == choice.token_ids
        assert not any(tokens[len(choice.token_ids) :])
    scores = [choice.score for choice in output.choices]
    assert scores == pytest.approx(found.sequences_scores.tolist(), abs=1e-4)
    assert len({choice.text for choice in output.choices}) == 4


def most_blocks(llm, params):
    """The most K/V blocks that one request for 512 prompt tokens has in use."""
    scheduler = llm._engine.scheduler
    prompt = [(31 * place) % 20_000 + 100 for place in range(512)]
    most = 0
    llm._engine.add("measured", prompt, params)
    while llm._engine.has_work:
        llm._engine.step()
        most = max(most, scheduler.pools[0].num_blocks - scheduler.pools[0].num_available)
    return most


def test_four_beams_hold_at_most_1_6_times_the_blocks_of_greedy(llm):
    options = {"max_tokens": 64, "ignore_eos": True}
    greedy = most_blocks(llm, SamplingParams(temperature=0.0, **options))
    four = most_blocks(llm, SamplingParams(use_beam_search=True, best_of=4, **options))
    apart = SamplingParams(
        use_beam_search=True, best_of=4, num_beam_groups=4, diversity_penalty=9.0, **options
    )
    assert greedy == 36  # 512 + 64 tokens in blocks of 16
    assert greedy < four <= 1.6 * greedy
    assert four <= most_blocks(llm, apart) <= 1.6 * greedy


def test_a_stream_brings_each_answer_whole(llm):
    deltas = list(llm.stream(QUESTION, BEAMS))
    [output] = llm.chat(QUESTION, BEAMS)
    assert [delta.text for delta in deltas] == [choice.text for choice in output.choices]
    assert [delta.score for delta in deltas] == [choice.score for choice in output.choices]
