"""Gemma 2 and the text part of Gemma 3 (Gemma Team, 2024 and 2025).

Each sublayer is normed before and after, embeddings are scaled, local and global layers alternate. Gemma 2
caps attention scores and logits softly; Gemma 3 norms query and key heads instead and has one rope for local
and one for global layers.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from redline.cache.paged import PagedKV
from redline.errors import ModelFileError
from redline.layers.batch import Batch, take_rows
from redline.layers.rotary import RotaryTable
from redline.models import gguf_config, hf_config
from redline.models.config_reader import ConfigReader
from redline.models.decoder import load_attention, load_mlp, load_norm
from redline.models.family import Family
from redline.models.gguf_weights import GGUFWeights
from redline.models.safetensors_weights import HF_NAMES
from redline.models.spec import LayerSpec, ModelSpec, RopeSpec
from redline.models.weights import WeightSource
from redline.ops.arrays import F32, I32

LOCAL_THETA, GLOBAL_THETA = 10_000.0, 1_000_000.0  # Gemma 3
GEMMA2_PATTERN, GEMMA3_PATTERN = 2, 6  # every n-th layer sees the whole context
# The largest models scale scores by hidden_size / num_heads; GGUF files tell them by their depth only.
GEMMA2_27B_LAYERS, GEMMA3_27B_LAYERS = 46, 62
# What the published multimodal checkpoints leave out of text_config.
MULTIMODAL_DEFAULTS = {
    "vocab_size": 262_208,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "max_position_embeddings": 131_072,
}


class SandwichBlock:
    """Attention and MLP, each with a norm of its input and a norm of its output."""

    def __init__(self, spec: ModelSpec, layer: int, weights: WeightSource, rotary: RotaryTable) -> None:
        self.attention_norm = load_norm(spec, weights, f"blk.{layer}.attn_norm")
        self.attention = load_attention(spec, layer, weights, rotary)
        self.post_attention_norm = load_norm(spec, weights, f"blk.{layer}.post_attention_norm")
        self.mlp_norm = load_norm(spec, weights, f"blk.{layer}.ffn_norm")
        self.mlp = load_mlp(spec, layer, weights)
        self.post_mlp_norm = load_norm(spec, weights, f"blk.{layer}.post_ffw_norm")

    def __call__(self, ops: Any, x_TD: F32, batch: Batch, kv: PagedKV, rows_R: I32 | None) -> F32:
        y_RD = self.attention(ops, x_TD, self.attention_norm, batch, kv, rows_R)
        x_RD = ops.add(self.post_attention_norm(ops, y_RD), take_rows(x_TD, rows_R))
        y_RD = self.mlp(ops, x_RD, self.mlp_norm)
        sum_RD: F32 = ops.add(self.post_mlp_norm(ops, y_RD), x_RD)
        return sum_RD


def gemma2_from_hf(config: ConfigReader) -> ModelSpec:
    common = _common_hf(config)
    rope = hf_config.read_rope(config, common["head_dim"])
    return _from_hf(
        config,
        "gemma2",
        common,
        {"full_attention": rope, "sliding_attention": rope},
        GEMMA2_PATTERN,
        attention_soft_cap=hf_config.nullable(config, "attn_logit_softcapping", 50.0),
        final_soft_cap=hf_config.nullable(config, "final_logit_softcapping", 30.0),
    )


def gemma3_from_hf(config: ConfigReader) -> ModelSpec:
    """Reads the text model of multimodal checkpoints too, whose images Redline does not take."""
    if "text_config" in config:
        section = config.require("text_config", dict)
        config = ConfigReader(MULTIMODAL_DEFAULTS | section, f"{config.source}: text_config")
    common = _common_hf(config)
    pattern = config.size("sliding_window_pattern", config.size("_sliding_window_pattern", GEMMA3_PATTERN))
    return _from_hf(
        config,
        "gemma3",
        common,
        gemma3_ropes(config, common["head_dim"]),
        pattern,
        qk_norm=True,
        attention_soft_cap=hf_config.nullable(config, "attn_logit_softcapping", 0.0),
        final_soft_cap=hf_config.nullable(config, "final_logit_softcapping", 0.0),
    )


def _common_hf(config: ConfigReader) -> dict[str, Any]:
    common = hf_config.common_settings(config, head_dim=256, tied=True)
    config.ignore("hidden_act")  # hidden_activation overrides it
    config.expect("use_bidirectional_attention", (None, False))
    activation = config.expect("hidden_activation", (None, *hf_config.ACTIVATIONS))
    common["activation"] = hf_config.ACTIVATIONS[activation or "gelu_pytorch_tanh"]
    common["attention_scale"] = config.default("query_pre_attn_scalar", 256.0) ** -0.5
    common["qkv_bias"] = common["attention_output_bias"] = config.default("attention_bias", False)
    return common


def _from_hf(
    config: ConfigReader,
    architecture: str,
    common: dict[str, Any],
    ropes: dict[str, RopeSpec],
    pattern: int,
    **fields: Any,
) -> ModelSpec:
    window = config.size("sliding_window", 4096)
    types = _pattern(hf_config.num_layers(config), pattern)
    spec = ModelSpec(
        architecture=architecture,
        layers=hf_config.windowed_layers(config, ropes, window, types),
        max_context=config.size("max_position_embeddings", 8192),
        post_norms=True,
        embedding_scale=common["hidden_size"] ** 0.5,
        **common,
        **fields,
    )
    config.done()
    return spec


def _pattern(num_layers: int, pattern: int) -> list[str]:
    return ["sliding_attention" if (layer + 1) % pattern else "full_attention" for layer in range(num_layers)]


def gemma3_ropes(config: ConfigReader, head_dim: int) -> dict[str, RopeSpec]:
    """Nested rope_parameters (transformers 5), or two thetas and a scaling of the global layers."""
    local_theta = config.default("rope_local_base_freq", LOCAL_THETA)
    trained = config.size("max_position_embeddings", 131_072)
    if "rope_parameters" in config:
        sections = config.section("rope_parameters")
        local, whole = sections.section("sliding_attention"), sections.section("full_attention")
        sections.done()
        return {
            "sliding_attention": hf_config.rope_section(local, head_dim, LOCAL_THETA, 1.0, trained),
            "full_attention": hf_config.rope_section(whole, head_dim, GLOBAL_THETA, 1.0, trained),
        }
    config.ignore("rope_parameters")
    theta = config.default("rope_theta", GLOBAL_THETA)
    scaling = config.section("rope_scaling") if "rope_scaling" in config else ConfigReader({}, config.source)
    config.ignore("rope_scaling")
    return {
        "sliding_attention": RopeSpec(rotary_dim=head_dim, theta=local_theta),
        "full_attention": hf_config.rope_section(scaling, head_dim, theta, 1.0, trained),
    }


def gemma2_from_gguf(weights: GGUFWeights) -> ModelSpec:
    config = gguf_config.reader(weights, "gemma2")
    common = gguf_config.common_settings(config, weights)
    rope = gguf_config.read_rope(config, weights, common["head_dim"], interleaved=False)
    ropes = {"full_attention": rope, "sliding_attention": rope}
    return _from_gguf(
        config,
        common,
        "gemma2",
        ropes,
        _pattern_gguf(config, GEMMA2_PATTERN),
        GEMMA2_27B_LAYERS,
        attention_soft_cap=config.default("attn_logit_softcapping", 50.0),
        final_soft_cap=config.default("final_logit_softcapping", 30.0),
    )


def gemma3_from_gguf(weights: GGUFWeights) -> ModelSpec:
    config = gguf_config.reader(weights, "gemma3")
    common = gguf_config.common_settings(config, weights)
    rope = gguf_config.read_rope(config, weights, common["head_dim"], interleaved=False)
    if "rope.freq_base" not in config:
        rope = replace(rope, theta=GLOBAL_THETA)
    local_theta = config.default("rope.freq_base_swa", LOCAL_THETA)
    ropes = {
        "full_attention": rope,
        "sliding_attention": RopeSpec(rotary_dim=rope.rotary_dim, theta=local_theta),
    }
    return _from_gguf(
        config,
        common,
        "gemma3",
        ropes,
        _pattern_gguf(config, GEMMA3_PATTERN),
        GEMMA3_27B_LAYERS,
        qk_norm=True,
        final_soft_cap=config.default("final_logit_softcapping", 0.0),
    )


def _from_gguf(
    config: ConfigReader,
    common: dict[str, Any],
    architecture: str,
    ropes: dict[str, RopeSpec],
    types: list[str],
    layers_of_largest: int,
    **fields: Any,
) -> ModelSpec:
    width = common["head_dim"]
    if len(types) == layers_of_largest:
        width = common["hidden_size"] / common["num_heads"]
    window = config.size("attention.sliding_window", 4096)
    spec = ModelSpec(
        architecture=architecture,
        layers=tuple(
            LayerSpec(rope=ropes[kind], window=window if kind == "sliding_attention" else 0) for kind in types
        ),
        activation="gelu_tanh",
        attention_scale=config.default("attention.scale", width**-0.5),
        post_norms=True,
        embedding_scale=common["hidden_size"] ** 0.5,
        **common,
        **fields,
    )
    config.done()
    return spec


def _pattern_gguf(config: ConfigReader, fallback: int) -> list[str]:
    """The kind of each layer; the file may state a period, or for each layer whether it has the window."""
    key, count = "attention.sliding_window_pattern", gguf_config.num_layers(config)
    if not config.is_list(key):
        return _pattern(count, config.size(key, fallback))
    windowed = config.require(key, list)
    if len(windowed) != count:
        raise ModelFileError(f"{config.source}: {key} has {len(windowed)} values for {count} layers")
    return ["sliding_attention" if each else "full_attention" for each in windowed]


HF_GEMMA_NAMES = HF_NAMES | {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
GEMMA2 = Family(
    spec_from_hf=gemma2_from_hf,
    spec_from_gguf=gemma2_from_gguf,
    block=SandwichBlock,
    hf_names=HF_GEMMA_NAMES,
    hf_norm_offset=1.0,
)


def text_tensor(name: str) -> str | None:
    """The name in a text checkpoint of a multimodal checkpoint's tensor; None for the image part."""
    if re.match(r"(model\.)?(vision_tower|multi_modal_projector)\.", name):
        return None
    name = re.sub(r"^(model\.language_model|language_model\.model)\.", "model.", name)
    return re.sub(r"^language_model\.lm_head\.", "lm_head.", name)


GEMMA3 = replace(GEMMA2, spec_from_hf=gemma3_from_hf, spec_from_gguf=gemma3_from_gguf)
GEMMA3_MULTIMODAL = replace(GEMMA3, hf_rename=text_tensor)
