"""Qwen2 and Qwen2.5 (biased q, k, v) and Qwen3 (normed query and key heads instead)."""

from __future__ import annotations

from typing import Any

from redline.models import gguf_config, hf_config
from redline.models.config_reader import ConfigReader
from redline.models.family import Family
from redline.models.gguf_weights import GGUFWeights
from redline.models.spec import LayerSpec, ModelSpec


def qwen2_from_hf(config: ConfigReader) -> ModelSpec:
    return _from_hf(config, "qwen2", hf_config.common_settings(config), qkv_bias=True)


def qwen3_from_hf(config: ConfigReader) -> ModelSpec:
    common = hf_config.common_settings(config, head_dim=128)
    bias = config.default("attention_bias", False)
    return _from_hf(config, "qwen3", common, qk_norm=True, qkv_bias=bias, attention_output_bias=bias)


def _from_hf(config: ConfigReader, architecture: str, common: dict[str, Any], **fields: Any) -> ModelSpec:
    config.expect("hidden_act", (None, "silu"))
    config.expect("use_mrope", (None, False))
    rope = hf_config.read_rope(config, common["head_dim"])
    window, types = _windows(config)
    ropes = {"full_attention": rope, "sliding_attention": rope}
    spec = ModelSpec(
        architecture=architecture,
        layers=hf_config.windowed_layers(config, ropes, window, types),
        max_context=hf_config.max_context(config, rope),
        attention_scale=common["head_dim"] ** -0.5,
        **common,
        **fields,
    )
    config.done()
    return spec


def _windows(config: ConfigReader) -> tuple[int, list[str]]:
    """The window (0: none) and the layers that have it: those from max_window_layers on."""
    count = hf_config.num_layers(config)
    first = config.default("max_window_layers", 28)
    window = config.default("sliding_window", 0 if config.is_null("sliding_window") else 4096)
    if not config.default("use_sliding_window", False) or window == 0:
        return 0, ["full_attention"] * count
    return window, ["sliding_attention" if layer >= first else "full_attention" for layer in range(count)]


def qwen2_from_gguf(weights: GGUFWeights) -> ModelSpec:
    return _from_gguf(weights, "qwen2")


def qwen3_from_gguf(weights: GGUFWeights) -> ModelSpec:
    return _from_gguf(weights, "qwen3", qk_norm=True)


def _from_gguf(weights: GGUFWeights, architecture: str, **fields: Any) -> ModelSpec:
    config = gguf_config.reader(weights, architecture)
    common = gguf_config.common_settings(config, weights)
    rope = gguf_config.read_rope(config, weights, common["head_dim"], interleaved=False)
    spec = ModelSpec(
        architecture=architecture,
        layers=(LayerSpec(rope=rope),) * gguf_config.num_layers(config),
        attention_scale=common["head_dim"] ** -0.5,
        **common,
        **fields,
    )
    config.done()
    return spec


QWEN2 = Family(spec_from_hf=qwen2_from_hf, spec_from_gguf=qwen2_from_gguf)
QWEN3 = Family(spec_from_hf=qwen3_from_hf, spec_from_gguf=qwen3_from_gguf)
