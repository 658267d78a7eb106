"""config.json and metadata as published checkpoints have them, without what newer transformers spell out."""

import pytest

from redline.errors import UnsupportedModel
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
