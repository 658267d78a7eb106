"""Mistral 7B and successors: Llama with a sliding window (Jiang et al., 2023)."""

from __future__ import annotations

from redline.models import hf_config, llama
from redline.models.config_reader import ConfigReader
from redline.models.family import Family
from redline.models.spec import LayerSpec, ModelSpec


def spec_from_hf(config: ConfigReader) -> ModelSpec:
    common = hf_config.common_settings(config)
    config.expect("hidden_act", (None, "silu"))
    rope = hf_config.read_rope(config, common["head_dim"])
    window = 0 if config.is_null("sliding_window") else config.size("sliding_window", 4096)
    config.ignore("sliding_window")
    spec = ModelSpec(
        architecture="mistral",
        layers=(LayerSpec(rope=rope, window=window),) * hf_config.num_layers(config),
        max_context=hf_config.max_context(config, rope),
        attention_scale=common["head_dim"] ** -0.5,
        **common,
    )
    config.done()
    return spec


MISTRAL = Family(spec_from_hf=spec_from_hf, spec_from_gguf=llama.spec_from_gguf)
