"""config.json and metadata as published checkpoints have them, without what newer transformers spell out."""

import pytest

from redline.errors import ModelFileError, UnsupportedModel
from redline.models.config_reader import ConfigReader
from redline.models.registry import FAMILIES, family

SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 4,
    "vocab_size": 100,
    "max_position_embeddings": 4096,
    "torch_dtype": "bfloat16",
}


def spec(architecture, **config):
    config = {"architectures": [architecture], **SHAPE, **config}
    return family(architecture, "config.json").spec_from_hf(ConfigReader(config, "config.json"))


def windows(found):
    return [layer.window for layer in found.layers]


def test_smollm2():
    found = spec(
        "LlamaForCausalLM",
        rope_theta=100_000,
        rope_interleaved=False,
        is_llama_config=True,
        rope_scaling=None,
        **{"transformers.js_config": {"kv_cache_dtype": "float16"}},
    )
    assert found.ropes[0].theta == 100_000 and not found.ropes[0].interleaved
    assert found.head_dim == 16 and found.attention_scale == 0.25


@pytest.mark.parametrize(
    "config, window", [({}, 4096), ({"sliding_window": None}, 0), ({"sliding_window": 9}, 9)]
)
def test_mistral_without_a_window_says_null(config, window):
    assert windows(spec("MistralForCausalLM", **config)) == [window] * 4


@pytest.mark.parametrize("architecture", ["Qwen2ForCausalLM", "Qwen3ForCausalLM"])
@pytest.mark.parametrize(
    "config, expected",
    [
        ({"use_sliding_window": False, "sliding_window": 8, "max_window_layers": 1}, [0, 0, 0, 0]),
        ({"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}, [0, 8, 8, 8]),
        ({"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 4}, [0, 0, 0, 0]),
        ({"use_sliding_window": True, "sliding_window": None, "max_window_layers": 0}, [0, 0, 0, 0]),
    ],
)
def test_qwen_windows_start_at_a_layer(architecture, config, expected):
    assert windows(spec(architecture, **config)) == expected


def test_qwen_differs_by_generation():
    second, third = spec("Qwen2ForCausalLM"), spec("Qwen3ForCausalLM")
    assert (second.qkv_bias, second.attention_output_bias, second.qk_norm) == (True, False, False)
    assert (third.qkv_bias, third.attention_output_bias, third.qk_norm) == (False, False, True)
    assert (second.head_dim, third.head_dim) == (16, 128)


def test_qwen_yarn_extends_the_context():
    scaling = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4096}
    found = spec("Qwen2ForCausalLM", rope_scaling=scaling)
    assert found.max_context == 16_384
    assert found.ropes[0].attention_factor == pytest.approx(1.1386, abs=1e-4)


def test_gemma2():
    found = spec("Gemma2ForCausalLM", head_dim=32, hidden_act="gelu_pytorch_tanh", sliding_window=8)
    assert windows(found) == [8, 0, 8, 0]
    assert (found.attention_soft_cap, found.final_soft_cap) == (50.0, 30.0)
    assert found.attention_scale == 256**-0.5 and found.embedding_scale == 8.0
    assert found.tied_embeddings and found.activation == "gelu_tanh"
    uncapped = spec("Gemma2ForCausalLM", attn_logit_softcapping=None, final_logit_softcapping=None)
    assert (uncapped.attention_soft_cap, uncapped.final_soft_cap) == (0.0, 0.0)


def test_gemma3_local_and_global_ropes():
    found = spec(
        "Gemma3ForCausalLM",
        sliding_window=8,
        sliding_window_pattern=3,
        rope_theta=1_000_000,
        rope_local_base_freq=10_000,
        rope_scaling={"factor": 8.0, "rope_type": "linear"},
        cache_implementation="hybrid",
    )
    assert windows(found) == [8, 8, 0, 8]
    local, whole = found.layers[0].rope, found.layers[2].rope
    assert (local.theta, local.kind, whole.theta, whole.kind) == (10_000, "default", 1_000_000, "linear")
    assert whole.factor == 8.0 and found.max_context == 4096


def test_gemma3_multimodal_leaves_defaults_out():
    text = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 7, "model_type": "gemma3_text"}
    text |= {"sliding_window": 8, "rope_scaling": {"factor": 8.0, "rope_type": "linear"}}
    config = {"text_config": text, "vision_config": {"image_size": 896}, "mm_tokens_per_image": 256}
    found = family("Gemma3ForConditionalGeneration", "c").spec_from_hf(ConfigReader(config, "c"))
    assert (found.vocab_size, found.num_heads, found.num_kv_heads, found.head_dim) == (262_208, 8, 4, 256)
    assert windows(found) == [8, 8, 8, 8, 8, 0, 8]
    assert found.max_context == 131_072


GEMMA3N = {
    "model_type": "gemma3n_text",
    "intermediate_size": [96] * 12,
    "num_hidden_layers": 12,
    "num_kv_shared_layers": 5,
    "head_dim": 16,
    "hidden_activation": "gelu_pytorch_tanh",
    "sliding_window": 8,
    "rope_theta": 1_000_000.0,
    "rope_local_base_freq": 10_000.0,
    "rope_scaling": None,
    "query_pre_attn_scalar": 256,
    "altup_coef_clip": 120.0,
    "altup_lr_multiplier": 1.0,
    "vocab_size_per_layer_input": 90,
    "final_logit_softcapping": 30.0,
}


def test_gemma3n():
    found = spec("Gemma3nForCausalLM", **GEMMA3N)
    assert windows(found) == [8, 8, 8, 8, 0, 8, 8, 8, 8, 0, 8, 8]
    assert found.kv_owners == (0, 1, 2, 3, 4, 5, 6, 6, 6, 4, 6, 6)
    assert found.attention_scale == 1.0 and found.tied_embeddings and found.qk_norm and found.v_norm
    assert [layer.rope.theta for layer in found.layers[3:5]] == [10_000, 1_000_000]
    assert found.gemma3n.sparsity == (0.95,) * 10 + (0.0,) * 2
    assert (found.gemma3n.num_streams, found.gemma3n.laurel_rank, found.gemma3n.per_layer_size) == (
        4,
        64,
        256,
    )
    assert found.gemma3n.per_layer_vocab == 90


@pytest.mark.parametrize(
    "config, error, message",
    [
        ({"intermediate_size": [96] * 11 + [48]}, UnsupportedModel, "the same for all of 12 layers"),
        ({"intermediate_size": [96] * 11}, UnsupportedModel, "the same for all of 12 layers"),
        ({"intermediate_size": ["96"] * 12}, ModelFileError, "intermediate_size is '96'"),
        ({"num_kv_shared_layers": 12}, ModelFileError, "num_kv_shared_layers is 12; it must be in 0..11"),
        ({"num_kv_shared_layers": -1}, ModelFileError, "num_kv_shared_layers is -1"),
        ({"num_kv_shared_layers": 8}, ModelFileError, "layer 4 reads .* of its kind among the first 4"),
        ({"activation_sparsity_pattern": [0.5]}, ModelFileError, "a number for each of 12 layers"),
        ({"activation_sparsity_pattern": ["a"] * 12}, ModelFileError, "a number for each of 12 layers"),
        ({"activation_sparsity_pattern": [1.0] * 12}, UnsupportedModel, "at least 0 and below 1"),
        ({"altup_active_idx": 4}, UnsupportedModel, "4 AltUp inputs with number 4 active"),
        ({"altup_num_inputs": 17}, UnsupportedModel, "17 AltUp inputs"),
        ({"hidden_activation": "relu"}, UnsupportedModel, "hidden_activation is 'relu'"),
        ({"altup_of_tomorrow": 2}, UnsupportedModel, "altup_of_tomorrow=2"),
    ],
)
def test_gemma3n_that_cannot_be_is_refused(config, error, message):
    with pytest.raises(error, match=message):
        spec("Gemma3nForCausalLM", **GEMMA3N | config)


@pytest.mark.parametrize(
    "architecture, config, message",
    [
        ("Gemma3ForCausalLM", {"use_bidirectional_attention": True}, "use_bidirectional_attention is True"),
        ("Gemma2ForCausalLM", {"hidden_activation": "relu"}, "hidden_activation is 'relu'"),
        ("Qwen2ForCausalLM", {"layer_types": ["linear_attention"] * 4}, "'linear_attention'"),
        ("Qwen2ForCausalLM", {"use_mrope": True}, "use_mrope is True"),
        ("LlamaForCausalLM", {"rope_interleaved": True}, "rope_interleaved is True"),
        ("MistralForCausalLM", {"num_local_experts": 8}, "num_local_experts=8"),
    ],
)
def test_variants_that_are_not_implemented_are_refused(architecture, config, message):
    with pytest.raises(UnsupportedModel, match=message):
        spec(architecture, **config)


def test_every_registered_family_can_be_imported():
    for architecture in FAMILIES:
        assert family(architecture, "x").hf_names
