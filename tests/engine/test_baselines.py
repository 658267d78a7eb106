"""What techniques are measured against works, and gives the same bits where the technique is exact."""

import numpy as np
import pytest

from redline import LLM, SamplingParams
from redline.models.load_weights import load_weights
from redline.ops.registry import backend
from tests.engine.tiny_engine import TinyEngine, answers
from tests.model_file import smollm2
from tests.models import checkpoints

VOCAB = checkpoints.SHAPE["vocab_size"]
PROMPTS = [np.random.default_rng(seed).integers(0, VOCAB, 3 + 4 * seed).tolist() for seed in range(5)]
PLAIN = SamplingParams(max_tokens=8, temperature=0.0)
KINDS = {
    "greedy": PLAIN,
    "several": SamplingParams(max_tokens=8, n=3, seed=5),
    "beams": SamplingParams(max_tokens=8, n=2, use_beam_search=True, best_of=3),
}


@pytest.fixture(scope="module", params=["llama", "gemma2"])  # the second has windows
def decoder(request, tmp_path_factory):
    path = checkpoints.save_directory(request.param, tmp_path_factory.mktemp("model") / request.param)
    return load_weights(path, backend("cpu"), "int8")


def run(decoder, kind, num_blocks, **options):
    engine = TinyEngine(decoder, num_blocks, **options)
    outputs = engine.generate(PROMPTS, [KINDS[kind]] * len(PROMPTS))
    return [answers(output) for output in outputs], engine


@pytest.mark.oracle
@pytest.mark.parametrize(
    "kind, options",
    [("greedy", {"chunked_prefill": 7}), ("several", {"max_batch": 3}), ("beams", {"chunked_prefill": None})],
)
def test_without_a_cache_the_same_bits(decoder, kind, options):
    expected, _ = run(decoder, kind, 200)
    got, _ = run(decoder, kind, 60, kv_cache=False, **options)
    assert got == expected


@pytest.mark.oracle
def test_without_a_cache_each_token_computes_all_before_it(decoder):
    engine = TinyEngine(decoder, 60, kv_cache=False)
    engine.add(PROMPTS[2], PLAIN)
    computed = []
    true = engine.engine.scheduler.schedule
    engine.engine.scheduler.schedule = lambda *drafts: noted(true(*drafts), computed)
    engine.run()
    length = len(PROMPTS[2])
    assert computed == [length + index for index in range(8)]


def noted(plan, computed):
    computed.append(sum(item.num_tokens for item in plan.items))
    return plan


TEXTS = ["The capital of France is", "A", "Write a story about bridges. " * 12]
GREEDY = SamplingParams(temperature=0.0, max_tokens=6, ignore_eos=True, logprobs=1)


def bits(**options):
    llm = LLM(str(smollm2()), **{"max_context": 256, "kv_memory": "64MiB", **options})
    outputs = llm.generate(TEXTS, GREEDY)
    llm._engine.scheduler.check_integrity()
    return [[(token.token_id, token.logprob) for token in output.choices[0].logprobs] for output in outputs]


@pytest.fixture(scope="module")
def expected():
    return bits()


@pytest.mark.model
@pytest.mark.parametrize("off", ["kv_cache", "paged_cache"])
def test_exact_baselines_give_the_same_bits(expected, off):
    assert bits(**{off: False}) == expected


@pytest.mark.model
def test_naive_attention_differs_by_rounding_alone():
    """In floats: where activations are rounded to 8 bits, a last bit can move a code."""
    expected = bits(compute="float", kv_format="f32")
    got = bits(compute="float", kv_format="f32", flash_attention=False)
    assert [[token for token, _ in each] for each in got] == [
        [token for token, _ in each] for each in expected
    ]
    differences = [
        abs(ours - theirs)
        for answer, other in zip(got, expected, strict=True)
        for (_, ours), (_, theirs) in zip(answer, other, strict=True)
    ]
    assert 0 < max(differences) < 1e-4


@pytest.mark.model
def test_a_contiguous_cache_reserves_the_context_and_holds_fewer_sequences():
    options = {"max_context": 1024, "kv_memory": "96MiB"}
    most = []
    for paged in (True, False):
        llm = LLM(str(smollm2()), paged_cache=paged, **options)
        streams = [llm.stream([7 + index] * 20, GREEDY) for index in range(12)]
        next(streams[-1]) if paged else next(streams[0])
        most.append(llm.stats().running)
    assert most[0] == 12
    assert most[1] == 4  # 96 MiB over 22.5 MiB


@pytest.mark.model
def test_naive_attention_states_the_memory_of_its_scores():
    budgets = [
        LLM(str(smollm2()), max_context=512, kv_memory="64MiB", flash_attention=on).memory.activation_bytes
        for on in (True, False)
    ]
    assert budgets[1] - budgets[0] >= 4 * 9 * 512 * 512
