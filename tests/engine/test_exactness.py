"""Exact techniques give the same tokens on and off, alone and in company: bit for bit, on the real model."""

import pytest

from redline import LLM, SamplingParams
from tests.model_file import smollm2

pytestmark = pytest.mark.model

GREEDY = SamplingParams(temperature=0.0, max_tokens=24, ignore_eos=True, logprobs=1)
SEEDED = SamplingParams(temperature=0.9, top_p=0.95, seed=11, max_tokens=24, ignore_eos=True, logprobs=1)
SUBJECTS = ["rivers", "bridges", "engines", "letters", "winters", "harbours", "numbers", "gardens"]
SHARED = "You are a careful historian. Answer in full sentences and give the year of every event you name. "


@pytest.fixture(scope="module")
def prompts():
    """32 prompts of 8 to about 150 tokens; half of them share a beginning of more than one block."""
    texts = []
    for index in range(32):
        subject = SUBJECTS[index % len(SUBJECTS)]
        text = f"Write chapter {index} about {subject}. " + f"It mentions {subject} again. " * (index % 17)
        texts.append((SHARED if index % 2 else "") + text)
    return texts


def run(prompts, **options):
    llm = LLM(str(smollm2()), max_context=512, **{"kv_memory": "256MiB", **options})
    outputs = llm.generate(prompts, GREEDY)
    llm._engine.scheduler.check_integrity()
    return answers(outputs), llm.stats()


def answers(outputs):
    """Token ids and the exact log-probability of each: the bits of the logits, not only their order."""
    return [
        [(token.token_id, token.logprob) for token in output.choices[0].logprobs or []] for output in outputs
    ]


@pytest.fixture(scope="module")
def alone(prompts):
    """Each prompt on its own, nothing shared, prompts computed whole."""
    llm = LLM(
        str(smollm2()),
        max_context=512,
        kv_memory="256MiB",
        prefix_cache=False,
        chunked_prefill=None,
        max_batch=1,
    )
    return [answers(llm.generate(prompt, GREEDY))[0] for prompt in prompts]


@pytest.fixture(scope="module")
def seeded(prompts):
    """Each prompt sampled on its own."""
    llm = LLM(str(smollm2()), max_context=512, kv_memory="256MiB", prefix_cache=False, max_batch=1)
    return [answers(llm.generate(prompt, SEEDED))[0] for prompt in prompts]


def test_in_a_batch_of_32_with_staggered_arrivals(prompts, alone):
    llm = LLM(str(smollm2()), max_context=512, kv_memory="256MiB", prefix_cache=False)
    streams, taken = [], [[] for _ in prompts]
    for prompt in prompts:
        streams.append(llm.stream(prompt, GREEDY))
        taken[0].append(next(streams[0]))  # one step passes before the next request arrives
        if len(taken[0]) == GREEDY.max_tokens:
            break
    streams += [llm.stream(prompt, GREEDY) for prompt in prompts[len(streams) :]]
    for stream, deltas in zip(streams, taken, strict=True):
        deltas.extend(stream)
    got = [[(d.logprobs[0].token_id, d.logprobs[0].logprob) for d in deltas] for deltas in taken]
    assert got == alone


@pytest.mark.parametrize("prefix_cache", [True, False])
def test_prefix_cache_on_and_off(prompts, alone, prefix_cache):
    got, stats = run(prompts, prefix_cache=prefix_cache, max_batch=8)
    assert got == alone
    assert (stats.prefix_hits > 0) == prefix_cache


@pytest.mark.parametrize("switch", ["fusion", "graph_replay"])
def test_without_fusion_and_without_replay(prompts, alone, switch):
    assert run(prompts, **{switch: False})[0] == alone


@pytest.mark.parametrize("chunk", [16, 512, None])
def test_any_chunk_size(prompts, alone, chunk):
    assert run(prompts, chunked_prefill=chunk)[0] == alone


@pytest.mark.parametrize(
    "policy",
    [
        {"batching": "static", "max_batch": 5},
        {"batching": "dynamic", "max_batch": 7},
        {"prefill_first": True},
        {"prompt_share": 0.2, "chunked_prefill": 40},
        {"order": "shortest", "max_batch": 6},
        {"order": "longest_prefix", "max_batch": 6},
        {"order": "fair", "max_batch": 6},
        {"step_time": 0.002},
    ],
    ids=lambda policy: "-".join(map(str, policy.values())),
)
def test_with_any_policy(prompts, alone, policy):
    assert run(prompts, **policy)[0] == alone


@pytest.mark.parametrize(
    "options",
    [
        {"batching": "dynamic", "max_batch": 7, "order": "shortest"},
        {"order": "longest_prefix", "chunked_prefill": 40, "prompt_share": 0.2, "step_time": 0.002},
        {"kv_memory": "12MiB", "offload_memory": "128MiB"},
        {"kv_memory": "12MiB", "prefix_cache": False, "prefill_first": True},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_seeded_samples_are_the_same_however_they_are_scheduled(prompts, seeded, options):
    llm = LLM(str(smollm2()), max_context=512, **{"kv_memory": "256MiB", **options})
    assert answers(llm.generate(prompts, SEEDED)) == seeded
    assert answers(llm.generate(prompts[::-1], SEEDED)) == seeded[::-1], "from the cache, in another order"
    assert llm.stats().requests.finished == 2 * len(prompts)
    llm.stats().requests.check()


def test_with_preemption(prompts, alone):
    got, stats = run(prompts, kv_memory="12MiB", prefix_cache=False)
    assert got == alone
    assert stats.num_preemptions > 0


def test_with_preemption_and_prefix_cache(prompts, alone):
    got, stats = run(prompts, kv_memory="12MiB")
    assert got == alone
    assert stats.num_preemptions > 0


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_any_number_of_threads(prompts, alone, threads):
    assert run(prompts, threads=threads)[0] == alone


@pytest.mark.parametrize(
    "kv_format, kv_memory", [("bf16", "6MiB"), ("int8", "3MiB"), ("fp8", "3MiB"), ("int4", "2MiB")]
)
def test_a_smaller_cache_gives_the_same_alone_and_in_company(prompts, alone, kv_format, kv_memory):
    """Scales travel with their blocks: through shared prefixes, chunks and a cache that is nearly full."""
    few = prompts[:12]
    wanted, _ = run(few, kv_format=kv_format, prefix_cache=False, chunked_prefill=None, max_batch=1)
    got, stats = run(few, kv_format=kv_format, kv_memory=kv_memory, chunked_prefill=16)
    assert got == wanted
    assert got != alone[:12]
    assert stats.prefix_hits > 0


@pytest.mark.parametrize("block_size", [7, 64])
def test_any_block_size(prompts, alone, block_size):
    assert run(prompts, block_size=block_size)[0] == alone
