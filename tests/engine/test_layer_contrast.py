"""Contrasting the model with its first layers: what the formula says, alone and beside everything else."""

from __future__ import annotations

import numpy as np
import pytest

from redline import LLM, SamplingParams
from redline.decoding.contrast import PLAUSIBLE, contrast
from redline.errors import RequestError
from redline.models.load_weights import load_weights
from redline.ops.registry import backend
from tests.engine.tiny_engine import TinyEngine
from tests.model_file import smollm2
from tests.models import checkpoints

VOCAB = checkpoints.SHAPE["vocab_size"]
PROMPTS = [np.random.default_rng(seed).integers(0, VOCAB, 4 + 3 * seed).tolist() for seed in range(5)]
COMMON = {"max_tokens": 10, "ignore_eos": True, "logprobs": 2}
CONTRASTED = [
    SamplingParams(**COMMON, temperature=0.0, dola_layer=1),
    SamplingParams(**COMMON, seed=3, dola_layer=1, n=3),
    SamplingParams(**COMMON, temperature=0.0, dola_layer=1, repetition_penalty=1.5),
]


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    path = checkpoints.save_directory("llama", tmp_path_factory.mktemp("model") / "llama")
    return load_weights(path, backend("cpu"), "float")


def softmax(logits):
    weights = np.exp(np.asarray(logits, np.float64) - np.max(logits))
    return weights / weights.sum()


def test_the_formula() -> None:
    draw = np.random.default_rng(0)
    expert, amateur = 3 * draw.standard_normal((2, 500)).astype(np.float32)
    p, q = softmax(expert), softmax(amateur)
    expected = np.where(p >= PLAUSIBLE * p.max(), np.log(p / q), -np.inf)
    contrast(expert, amateur)
    np.testing.assert_allclose(expert, expected, rtol=1e-4, atol=1e-5)
    assert 1 < np.isfinite(expert).sum() < 100


@pytest.mark.oracle
def test_greedy_tokens_are_those_of_the_layers_of_transformers(decoder) -> None:
    torch = pytest.importorskip("torch")
    model = checkpoints.model("llama")
    [output] = TinyEngine(decoder, 40).generate(PROMPTS[-1:], CONTRASTED[:1])
    tokens = list(PROMPTS[-1])
    for token, found in zip(output.choices[0].token_ids, output.choices[0].logprobs, strict=True):
        with torch.no_grad():
            hidden = model(torch.tensor([tokens]), output_hidden_states=True).hidden_states
            early = model.lm_head(model.model.norm(hidden[1]))[0, -1].numpy()
            late = model(torch.tensor([tokens])).logits[0, -1].numpy()
        p, q = softmax(late), softmax(early)
        scores = np.where(p >= PLAUSIBLE * p.max(), np.log(p / q), -np.inf)
        assert token == scores.argmax()
        assert found.logprob == pytest.approx(float(np.log(softmax(scores)[token])), abs=1e-3)
        tokens.append(token)


def tokens_of(output):
    return [
        [(each.token_id, each.logprob, each.top) for each in choice.logprobs or []]
        for choice in output.choices
    ]


@pytest.mark.parametrize(
    "options",
    [{}, {"chunked_prefill": 3}, {"max_batch": 2}, {"prefix_cache": False}],
    ids=["plain", "chunks", "small batch", "no prefix cache"],
)
def test_the_same_alone_and_beside_others(decoder, options) -> None:
    alone = [
        tokens_of(TinyEngine(decoder, 60).generate([prompt], [each])[0])
        for prompt in PROMPTS
        for each in CONTRASTED
    ]
    plain = [SamplingParams(**COMMON, temperature=0.0), SamplingParams(**COMMON, seed=1)]
    engine = TinyEngine(decoder, 60, **options)
    prompts = [prompt for prompt in PROMPTS for _ in (*CONTRASTED, *plain)]
    outputs = engine.generate(prompts, [*CONTRASTED, *plain] * len(PROMPTS))
    got = [tokens_of(output) for index, output in enumerate(outputs) if index % 5 < 3]
    assert got == alone
    others = [tokens_of(output) for index, output in enumerate(outputs) if index % 5 == 3]
    assert others == [tokens_of(TinyEngine(decoder, 60).generate([each], plain[:1])[0]) for each in PROMPTS]
    assert others[0] != got[0]


@pytest.mark.model
def test_with_speculation_and_grammars_on_the_real_model() -> None:
    prompts = ["One two three one two three one two", "The capital of France is"]
    params = SamplingParams(temperature=0.0, max_tokens=12, dola_layer=12, logprobs=1)
    found = []
    for options in ({}, {"speculative": "ngram"}, {"graph_replay": False, "kv_memory": "4MiB"}):
        llm = LLM(str(smollm2()), max_context=128, **options)
        found.append([tokens_of(output) for output in llm.generate(prompts, params)])
    assert found[0] == found[1] == found[2]


def test_more_layers_than_there_are_refused_by_name(decoder) -> None:
    layers = decoder.spec.num_layers
    engine = TinyEngine(decoder, 40)
    with pytest.raises(
        RequestError, match=f"dola_layer is {layers} and the model has {layers} layers"
    ) as caught:
        engine.generate(PROMPTS[:1], [SamplingParams(dola_layer=layers)])
    assert caught.value.param == "dola_layer" and not engine.engine.has_work
    with pytest.raises(RequestError, match="dola_layer is 0"):
        SamplingParams(dola_layer=0)
    with pytest.raises(RequestError, match="dola_layer is 1; beam search does not support it"):
        SamplingParams(dola_layer=1, use_beam_search=True, best_of=2)
