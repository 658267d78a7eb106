"""Llama 2 and 3, SmolLM2 and what else shares their architecture (Touvron et al., 2023)."""

from __future__ import annotations

from redline.models import gguf_config, hf_config
from redline.models.config_reader import ConfigReader
from redline.models.family import Family
from redline.models.gguf_weights import GGUFWeights
from redline.models.spec import LayerSpec, ModelSpec


def spec_from_hf(config: ConfigReader) -> ModelSpec:
    common = hf_config.common_settings(config)
    config.expect("hidden_act", (None, "silu"))
    rope = hf_config.read_rope(config, common["head_dim"])
    attention_bias = config.default("attention_bias", False)
    spec = ModelSpec(
        architecture="llama",
        layers=(LayerSpec(rope=rope),) * hf_config.num_layers(config),
        max_context=hf_config.max_context(config, rope),
        attention_scale=common["head_dim"] ** -0.5,
        qkv_bias=attention_bias,
        attention_output_bias=attention_bias,
        mlp_bias=config.default("mlp_bias", False),
        **common,
    )
    config.done()
    return spec


def spec_from_gguf(weights: GGUFWeights) -> ModelSpec:
    """Mistral files carry this architecture name too, some with a window."""
    config = gguf_config.reader(weights, "llama")
    common = gguf_config.common_settings(config, weights)
    # The converter reorders the rows of q and k so that rotated pairs are neighbours.
    rope = gguf_config.read_rope(config, weights, common["head_dim"], interleaved=True)
    layer = LayerSpec(rope=rope, window=config.default("attention.sliding_window", 0))
    spec = ModelSpec(
        architecture="llama",
        layers=(layer,) * gguf_config.num_layers(config),
        attention_scale=common["head_dim"] ** -0.5,
        **common,
    )
    config.done()
    return spec


LLAMA = Family(spec_from_hf=spec_from_hf, spec_from_gguf=spec_from_gguf)
