"""A layer that guesses hidden states: the numbers of the paper, the same bits with and without, refusals."""

import json

import numpy as np
import pytest

from redline import LLM, SamplingParams
from redline.cache.paged import PagedKV
from redline.decoding.speculative.costs import StepCosts
from redline.decoding.speculative.depth import Depth
from redline.engine import model_speculation
from redline.engine.draft_passes import Span, batch_of
from redline.engine.eagle import MOST_KEPT, _Fed, _passes
from redline.errors import ConfigError, ModelFileError, UnsupportedModel
from redline.models.eagle import EagleFiles
from redline.models.spec import LayerSpec, ModelSpec, RopeSpec
from tests.model_file import smollm2
from tests.models.files import safetensors_bytes
from tests.models.shaped_gguf import write_shaped_gguf

HIDDEN, FFN, HEADS, KV_HEADS, EPS, THETA = 64, 96, 4, 2, 1e-5, 100.0
HEAD_DIM, VOCAB = HIDDEN // HEADS, 49152
LENGTH = 3  # of drafts

SHAPES = {
    "fc.weight": (HIDDEN, 2 * HIDDEN),
    "fc.bias": (HIDDEN,),
    "layers.0.self_attn.q_proj.weight": (HIDDEN, HIDDEN),
    "layers.0.self_attn.k_proj.weight": (KV_HEADS * HEAD_DIM, HIDDEN),
    "layers.0.self_attn.v_proj.weight": (KV_HEADS * HEAD_DIM, HIDDEN),
    "layers.0.self_attn.o_proj.weight": (HIDDEN, HIDDEN),
    "layers.0.self_attn.rotary_emb.inv_freq": (HEAD_DIM // 2,),  # in old checkpoints, without effect
    "layers.0.post_attention_layernorm.weight": (HIDDEN,),
    "layers.0.mlp.gate_proj.weight": (FFN, HIDDEN),
    "layers.0.mlp.up_proj.weight": (FFN, HIDDEN),
    "layers.0.mlp.down_proj.weight": (HIDDEN, FFN),
}
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "bias": True,
    "hidden_act": "silu",
    "hidden_size": HIDDEN,
    "intermediate_size": FFN,
    "max_position_embeddings": 2048,
    "model_type": "llama",
    "num_attention_heads": HEADS,
    "num_hidden_layers": 1,
    "num_key_value_heads": KV_HEADS,
    "rms_norm_eps": EPS,
    "rope_theta": THETA,
    "torch_dtype": "float16",
    "vocab_size": VOCAB,
}


def write_layer(path, tensors, **config):
    path.mkdir(exist_ok=True)
    values = {key: value for key, value in {**CONFIG, **config}.items() if value is not None}
    (path / "config.json").write_text(json.dumps(values))
    (path / "model.safetensors").write_bytes(safetensors_bytes(tensors))
    return path


def random_layer():
    """Weights with which every part has a say."""
    rng = np.random.default_rng(11)
    tensors = {name: rng.standard_normal(shape) / shape[-1] ** 0.5 for name, shape in SHAPES.items()}
    tensors["layers.0.post_attention_layernorm.weight"] += 1
    for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
        tensors[f"layers.0.self_attn.{name}.weight"] *= 2
    return {name: array.astype(np.float32) for name, array in tensors.items()}


class Paper:
    """The layer in float64, from the formulas: features and tokens behind them to guessed features."""

    def __init__(self, tensors):
        self.tensors = {name: array.astype(np.float64) for name, array in tensors.items()}

    def __call__(self, tokens_TD, features_TD):
        fc, bias = self.tensors["fc.weight"], self.tensors["fc.bias"]
        x_TD = np.concatenate([tokens_TD, features_TD], axis=1) @ fc.T + bias
        x_TD = x_TD + self._attention(x_TD)
        norm_D = self.tensors["layers.0.post_attention_layernorm.weight"]
        y_TD = x_TD / np.sqrt((x_TD**2).mean(axis=1, keepdims=True) + EPS) * norm_D
        gate_TF, up_TF = (
            y_TD @ self.tensors[f"layers.0.mlp.{each}_proj.weight"].T for each in ("gate", "up")
        )
        return (
            x_TD
            + (gate_TF / (1 + np.exp(-gate_TF)) * up_TF) @ self.tensors["layers.0.mlp.down_proj.weight"].T
        )

    def _attention(self, x_TD):
        q_THD, k_THD, v_THD = (
            (x_TD @ self.tensors[f"layers.0.self_attn.{each}_proj.weight"].T).reshape(len(x_TD), -1, HEAD_DIM)
            for each in "qkv"
        )
        q_THD, k_THD = _rotated(q_THD), _rotated(k_THD)
        earlier_TT = np.tril(np.ones((len(x_TD), len(x_TD)), bool))
        heads = []
        for head in range(HEADS):
            shared = head * KV_HEADS // HEADS
            scores_TT = q_THD[:, head] @ k_THD[:, shared].T / HEAD_DIM**0.5
            weights_TT = np.where(earlier_TT, np.exp(scores_TT - scores_TT.max()), 0)
            heads.append(weights_TT / weights_TT.sum(axis=1, keepdims=True) @ v_THD[:, shared])
        return np.concatenate(heads, axis=1) @ self.tensors["layers.0.self_attn.o_proj.weight"].T


def _rotated(x_THD):
    angles_TR = np.outer(np.arange(len(x_THD)), THETA ** (-np.arange(0, HEAD_DIM, 2) / HEAD_DIM))
    cos, sin = np.cos(angles_TR)[:, None], np.sin(angles_TR)[:, None]
    first, second = np.split(x_THD, 2, axis=2)
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=2)


class Target:
    """What the layer gets of the model, computed apart from it."""

    def __init__(self, llm):
        self.decoder = llm._engine.model.decoder
        ids = np.arange(VOCAB, dtype=np.int32)
        self.embedding_VD = self.decoder.embedding.embedding(self.decoder.ops, ids)
        self.output_VD = self.embedding_VD.astype(np.float64)  # they are tied

    def features(self, token_ids):
        """[T, D], behind the final norm."""
        spec, size = self.decoder.spec, 16
        num_blocks = -(-len(token_ids) // size)
        kv = PagedKV((0,) * spec.num_layers, [num_blocks], size, spec.num_kv_heads, spec.head_dim, "f32")
        rows = np.arange(len(token_ids), dtype=np.int32)
        hidden_TD = self.decoder.hidden(
            batch_of([Span(token_ids, 0, (list(range(num_blocks)),))], size, rows), kv, rows
        )
        self.decoder.hidden_RD = None
        return self.decoder.output_norm(self.decoder.ops, hidden_TD).astype(np.float64)


PROMPTS = ["one two three", "Once upon a time there", "The quick brown fox jumps over the lazy dog. " * 4]
PARAMS = {
    "greedy": SamplingParams(temperature=0.0, max_tokens=32, ignore_eos=True, logprobs=1),
    "choices": SamplingParams(temperature=0.5, seed=3, n=2, max_tokens=16, ignore_eos=True, logprobs=1),
    "scored": SamplingParams(temperature=0.0, max_tokens=8, ignore_eos=True, logprobs=1, prompt_logprobs=0),
}
SETTINGS = {
    "plain": {},
    "chunked": {"graph_replay": False, "chunked_prefill": 8, "prefix_cache": False},
    "small-blocks": {"block_size": 4, "kv_memory": "1MiB", "max_context": 80},  # preempts
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("eagle") / "model.gguf"
    return write_shaped_gguf(path, smollm2(), hidden=HIDDEN, ffn=64, layers=16, heads=2, kv_heads=2)


@pytest.fixture(scope="module")
def layer(tmp_path_factory):
    return write_layer(tmp_path_factory.mktemp("eagle") / "random", random_layer())


@pytest.fixture(scope="module")
def plain(model):
    return {name: answers(build(model), name) for name in PARAMS}


@pytest.fixture
def drafts_all(monkeypatch):
    def depth(chances, most, num_rows, max_rows, step_cost, draft_cost):
        return Depth(len(chances), most)

    monkeypatch.setattr(model_speculation, "draft_depth", depth)


def build(model, path=None, **options):
    speculative = {"method": "eagle", "model": str(path), "num_speculative_tokens": LENGTH}
    options = {"max_context": 128, "kv_memory": "4MiB", "compute": "float", "kv_format": "f32", **options}
    return LLM(str(model), speculative=speculative if path else None, **options)


def answers(llm, name):
    return [
        [(choice.token_ids, [each.logprob for each in choice.logprobs]) for choice in output.choices]
        for output in llm.generate(PROMPTS, PARAMS[name])
    ]


def drafted_by(llm):
    """Fills with (the tokens that a sequence had, its draft)."""
    proposer, drafted = llm._engine._speculation._proposer, []
    propose = proposer.propose

    def spy(wanted):
        drafts = propose(wanted)
        drafted.extend((seq.token_ids, draft) for (seq, _), draft in zip(wanted, drafts, strict=True))
        return drafts

    proposer.propose = spy
    return drafted


@pytest.mark.parametrize("name", ["greedy", "choices", "scored"])
@pytest.mark.parametrize("options", SETTINGS.values(), ids=SETTINGS)
def test_drafts_are_those_of_the_paper(model, layer, plain, drafts_all, options, name):
    """Of every sequence, whatever step, block or sibling its features came by."""
    llm = build(model, layer, **options)
    target, paper, drafted = Target(llm), Paper(random_layer()), drafted_by(llm)
    assert answers(llm, name) == plain[name]
    llm._engine.scheduler.check_integrity()
    assert (llm.stats().num_preemptions > 0) == ("kv_memory" in options and name != "scored")
    assert drafted
    some = drafted[:: len(drafted) // 16 + 1]
    wrong = [pair for pair in some if pair[1] != said_by(paper, target, *pair)]
    # A sibling that comes back may share the last position of the prompt, with the other's token behind it.
    shared = options is SETTINGS["small-blocks"] and name == "choices"
    assert len(wrong) <= (len(some) // 4 if shared else 0), wrong


def said_by(paper, target, token_ids, draft):
    """As many tokens as the draft has."""
    tokens_ND = target.embedding_VD[token_ids[1:]]
    features_ND = target.features(token_ids[:-1])
    said = []
    for _ in draft:
        guessed_D = paper(tokens_ND, features_ND)[-1]
        said.append(int((target.output_VD @ guessed_D).argmax()))
        tokens_ND = np.concatenate([tokens_ND, target.embedding_VD[said[-1:]]])
        features_ND = np.concatenate([features_ND, guessed_D[None]])
    return said


def right_layer(llm, outputs):
    """A layer that knows answers by heart: fc alone makes the next feature of a token and a feature."""
    target, inputs, nexts = Target(llm), [], []
    for output in outputs:
        token_ids = [*output.prompt_token_ids, *output.choices[0].token_ids]
        features_TD = target.features(token_ids)
        inputs.append(np.concatenate([target.embedding_VD[token_ids[1:]], features_TD[:-1]], axis=1))
        nexts.append(features_TD[1:])
    tensors = {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items() if name != "fc.bias"}
    solved = np.linalg.lstsq(np.concatenate(inputs), np.concatenate(nexts), rcond=None)[0]
    return tensors | {"fc.weight": solved.T.astype(np.float32)}


@pytest.mark.parametrize("options", SETTINGS.values(), ids=SETTINGS)
def test_right_guesses_are_kept(model, plain, tmp_path, drafts_all, options):
    simple = build(model)
    outputs = simple.generate(PROMPTS, PARAMS["greedy"])
    path = write_layer(tmp_path / "right", right_layer(simple, outputs), bias=False)
    llm = build(model, path, **options)
    assert answers(llm, "greedy") == plain["greedy"]
    stats = llm.stats()
    assert stats.accepted_tokens > 0.9 * stats.draft_tokens > 30
    if not options:
        assert answers(llm, "greedy") == plain["greedy"], "of prompts that are in the cache"
        assert llm.stats().accepted_tokens - stats.accepted_tokens > 30
    proposer = llm._engine._speculation._proposer
    assert not proposer._features and not proposer._blocks._seen


def test_a_prompt_whose_beginning_another_had_is_seen_whole(model, layer, drafts_all):
    llm = build(model, layer)
    target, paper, drafted = Target(llm), Paper(random_layer()), drafted_by(llm)
    (first,) = llm.generate([PROMPTS[2]], PARAMS["greedy"])
    for ids in (first.prompt_token_ids, first.prompt_token_ids[:30]):  # the latter ends in a copied block
        drafted.clear()
        (output,) = llm.generate([ids], PARAMS["greedy"])
        assert output.metrics.num_cached_tokens == len(ids) - 1
        assert all(draft == said_by(paper, target, token_ids, draft) for token_ids, draft in drafted[:8])


def test_what_comes_back_from_slower_memory_without_features_changes_nothing(model, layer, plain, drafts_all):
    llm = build(model, layer, **SETTINGS["small-blocks"], offload_memory="4MiB")
    for name in ("greedy", "choices", "greedy"):
        assert answers(llm, name) == plain[name]
        llm._engine.scheduler.check_integrity()
    assert llm.stats().offload_loaded_tokens > 0 and llm.stats().draft_tokens > 100


def test_long_beginnings_are_cut_into_passes():
    feds = [
        _Fed(Span(range(start, start + length), start, ([0],)), np.arange(start, start + length)[:, None])
        for start, length in ((0, 7), (100, 3), (200, 1))
    ]
    passes = [[(list(fed.span.token_ids), fed.span.start) for fed in some] for some in _passes(feds, 5)]
    assert passes == [[([0, 1, 2, 3, 4], 0)], [([5, 6], 5), ([100, 101, 102], 100)], [([200], 200)]]


def test_blocks_that_are_drafted_into_lose_what_they_held(model, layer, drafts_all):
    llm = build(model, layer, block_size=4)
    proposer, num_checked = llm._engine._speculation._proposer, 0
    propose, keys = proposer.propose, proposer._blocks._keys

    def spy(wanted):
        nonlocal num_checked
        keys.update(dict.fromkeys(range(llm.stats().num_blocks), 7))
        drafts = propose(wanted)
        for (seq, _), draft in zip(wanted, drafts, strict=True):
            written = range(seq.num_tokens - 1, seq.num_tokens + len(draft) - 2)  # the last is not computed
            num_checked += len(written)
            assert not any(keys.get(seq.block_tables[0][position // 4]) == 7 for position in written)
        return drafts

    proposer.propose = spy
    llm.generate(PROMPTS[0], PARAMS["greedy"])
    assert num_checked > 30


def test_adapts_changes_nothing_and_keeps_little(model, layer, plain, monkeypatch):
    monkeypatch.setattr(StepCosts, "at", lambda _, rows: float(rows))  # nothing is cheaper together
    llm = build(model, layer)
    proposer, kept = llm._engine._speculation._proposer, []
    computed = proposer.computed

    def spy(plan):
        computed(plan)
        kept.extend(len(features.rows_ND) for features in proposer._features.values())

    proposer.computed = spy
    assert {name: answers(llm, name) for name in PARAMS} == plain
    assert 16 < max(kept) <= MOST_KEPT * 16
    steps = llm.stats().speculative_steps
    assert steps["probe"] > 0 and steps["does not pay"] > steps["probe"], steps


def test_the_layer_and_its_cache_are_part_of_the_memory(model, layer):
    memory = build(model, layer).memory
    assert memory.drafting_bytes > sum(4 * np.prod(shape) for shape in SHAPES.values())
    assert [kind.name for kind in memory.kv][1] == "draft K/V"
    assert memory.kv[1].num_layers == 1 and memory.kv[1].num_blocks == memory.kv[0].num_blocks


TARGET = ModelSpec(
    architecture="llama",
    vocab_size=VOCAB,
    hidden_size=HIDDEN,
    intermediate_size=FFN,
    num_heads=2,
    num_kv_heads=2,
    head_dim=32,
    layers=(LayerSpec(rope=RopeSpec(rotary_dim=32)),),
    max_context=2048,
    norm_eps=EPS,
    attention_scale=1.0,
)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"hidden_size": 32}, ModelFileError, "hidden_size is 32; a head for this model has 64"),
        ({"vocab_size": 30}, ModelFileError, "vocab_size is 30; a head for this model has 49152"),
        ({"num_hidden_layers": 2}, ModelFileError, "num_hidden_layers is 2; a head for this model has 1"),
        ({"architectures": ["LlamaForCausalLMEagle3"]}, UnsupportedModel, "EAGLE-3 and other kinds"),
        ({"draft_vocab_size": 32000}, UnsupportedModel, "EAGLE-3 and other kinds"),
        ({"tree": 1}, UnsupportedModel, "settings that Redline does not know: tree"),
        ({"hidden_act": "gelu"}, UnsupportedModel, "hidden_act is 'gelu'; supported"),
        ({"bias": 3}, ModelFileError, "bias is 3; it must be true or false"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path, change, error, said):
    with pytest.raises(error, match=rf"config\.json: .*{said}"):
        EagleFiles(write_layer(tmp_path, random_layer(), **change), TARGET)


@pytest.mark.parametrize(
    ("name", "shape", "error", "said"),
    [
        ("fc.weight", None, ModelFileError, "tensor fc.weight is missing"),
        (
            "fc.weight",
            (HIDDEN, HIDDEN),
            ModelFileError,
            r"fc.weight has shape \(64, 64\), expected \(64, 128\)",
        ),
        ("fc.bias", (3,), ModelFileError, "tensor fc.bias has shape"),
        (
            "layers.0.mlp.up_proj.weight",
            None,
            ModelFileError,
            "tensor layers.0.mlp.up_proj.weight is missing",
        ),
        ("layers.0.input_layernorm.weight", (HIDDEN,), UnsupportedModel, "layers.0.input_layernorm.weight"),
        ("norm.weight", (HIDDEN,), UnsupportedModel, "norm.weight"),
        (
            "embed_tokens.weight",
            (9, HIDDEN),
            ModelFileError,
            r"the embedding of this model has \(49152, 64\)",
        ),
        ("d2t", (9,), UnsupportedModel, "tensor d2t belongs to EAGLE-3"),
        ("midlayer.mlp.up_proj.weight", (9, 9), UnsupportedModel, "belongs to EAGLE-3"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(model, tmp_path, name, shape, error, said):
    tensors = random_layer()
    tensors.pop(name, None)
    if shape:
        tensors[name] = np.zeros(shape, np.float32)
    with pytest.raises(error, match=said):
        build(model, write_layer(tmp_path, tensors))


def test_the_embedding_may_be_in_the_file(tmp_path):
    tensors = random_layer() | {"embed_tokens.weight": np.zeros((VOCAB, HIDDEN), np.float32)}
    EagleFiles(write_layer(tmp_path, tensors), TARGET)


def test_pickles_are_refused(tmp_path):
    path = write_layer(tmp_path, random_layer())
    (path / "model.safetensors").rename(path / "pytorch_model.bin")
    with pytest.raises(ModelFileError, match="are Python pickles, which can run code"):
        EagleFiles(path, TARGET)


def test_a_file_is_no_directory_of_a_layer(model):
    with pytest.raises(ConfigError, match="eagle needs a directory with config.json and model.safetensors"):
        build(model, model)
