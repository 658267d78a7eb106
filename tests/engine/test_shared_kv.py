"""A model whose layers share keys and values, through the whole engine: Gemma 3n, tiny and random."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from redline import LLM, SamplingParams
from tests.engine.test_exactness import answers
from tests.models import checkpoints

pytestmark = pytest.mark.oracle

GREEDY = SamplingParams(temperature=0.0, max_tokens=12, ignore_eos=True, logprobs=1)
PROMPTS = [[(7 * i + 3 * j * j) % 67 for j in range(5 + 3 * i)] for i in range(6)]
PROMPTS += [[*PROMPTS[5], *PROMPTS[i]] for i in range(3)]  # with a beginning that others have


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = checkpoints.save_directory("gemma3n", tmp_path_factory.mktemp("model") / "gemma3n")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())[: checkpoints.SHAPE["vocab_size"]]
    tokenizer = Tokenizer(models.BPE({letter: index for index, letter in enumerate(letters)}, []))
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(path / "tokenizer.json"))
    return str(path)


def opened(directory, **options):
    return LLM(directory, **{"kv_memory": "1MiB", "block_size": 4, "max_context": 64} | options)


@pytest.fixture(scope="module")
def alone(directory):
    llm = opened(
        directory,
        prefix_cache=False,
        chunked_prefill=None,
        max_batch=1,
        graph_replay=False,
        fusion=False,
    )
    return [answers(llm.generate([prompt], GREEDY))[0] for prompt in PROMPTS]


@pytest.mark.parametrize(
    "options",
    [{}, {"chunked_prefill": 16}, {"max_batch": 3}, {"prefix_cache": False}, {"kv_format": "int8"}],
    ids=str,
)
def test_exact_techniques_stay_exact(directory, alone, options):
    if "kv_format" in options:
        alone = answers(
            opened(directory, max_batch=1, prefix_cache=False, **options).generate(PROMPTS, GREEDY)
        )
    llm = opened(directory, **options)
    assert answers(llm.generate(PROMPTS, GREEDY)) == alone
    assert answers(llm.generate(PROMPTS, GREEDY)) == alone  # from cached prefixes, where there are some
    assert (llm.stats().prefix_hits > 0) == options.get("prefix_cache", True)


def test_several_answers_copy_the_blocks_they_share(directory):
    sampled = SamplingParams(temperature=1.0, seed=5, max_tokens=10, n=3, ignore_eos=True)
    together = opened(directory).generate([PROMPTS[2]], sampled)[0].choices
    alone = opened(directory, max_batch=1, prefix_cache=False).generate([PROMPTS[2]], sampled)[0].choices
    assert [each.token_ids for each in together] == [each.token_ids for each in alone]
    assert len({tuple(each.token_ids) for each in together}) == 3


def test_a_token_takes_the_bytes_of_the_layers_that_store(directory):
    """Three of six layers, keys and values of one head of 12, in half precision."""
    llm = opened(directory, kv_format="f16")
    kv = llm._engine._kv
    assert kv.token_bytes == 3 * 2 * 12 * 2 and llm.kv_bytes == kv.nbytes
