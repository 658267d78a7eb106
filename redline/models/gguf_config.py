"""What the families share in reading the metadata of a GGUF file."""

from __future__ import annotations

from typing import Any

from redline.errors import ModelFileError, UnsupportedModel
from redline.models.config_reader import ConfigReader
from redline.models.gguf_weights import GGUFWeights
from redline.models.spec import RopeKind, RopeSpec, check_num_layers, yarn_attention_factor

HARMLESS = ("vocab_size", "rope.scaling.finetuned", "tensor_data_layout", "expert_used_count")


def reader(weights: GGUFWeights, architecture: str) -> ConfigReader:
    """The architecture's own section of the metadata."""
    file = weights.file
    return ConfigReader(file.metadata.section(architecture), f"{file.path}: {architecture}")


def common_settings(config: ConfigReader, weights: GGUFWeights) -> dict[str, Any]:
    """The ModelSpec fields that every family states alike; biases and ties show by their tensors."""
    config.ignore(*HARMLESS)
    config.expect("expert_count", (None, 0))
    config.expect("attention.causal", (None, True))
    hidden_size = config.size("embedding_length")
    num_heads = config.size("attention.head_count")
    head_dim = config.size("attention.key_length", max(hidden_size // num_heads, 1))
    config.expect("attention.value_length", (None, head_dim))
    return {
        "vocab_size": _vocab_size(weights),
        "hidden_size": hidden_size,
        "intermediate_size": config.size("feed_forward_length"),
        "num_heads": num_heads,
        "num_kv_heads": config.size("attention.head_count_kv", num_heads),
        "head_dim": head_dim,
        "max_context": config.size("context_length"),
        "norm_eps": config.require("attention.layer_norm_rms_epsilon", float),
        "tied_embeddings": not weights.has("output.weight"),
        "qkv_bias": weights.has("blk.0.attn_q.bias"),
        "attention_output_bias": weights.has("blk.0.attn_output.bias"),
        "mlp_bias": weights.has("blk.0.ffn_down.bias"),
    }


def num_layers(config: ConfigReader) -> int:
    """block_count, checked."""
    return check_num_layers(config.require("block_count", int))


def read_rope(config: ConfigReader, weights: GGUFWeights, head_dim: int, *, interleaved: bool) -> RopeSpec:
    """The rotary embedding, with the frequency divisors of Llama 3.1 where the file has them."""
    rotary_dim = config.size("rope.dimension_count", head_dim)
    divisors = None
    if weights.has("rope_freqs.weight"):
        divisors = tuple(float(value) for value in weights.vector(("rope_freqs.weight", rotary_dim // 2)))
        if min(divisors) <= 0:
            raise ModelFileError(f"{config.source}: rope_freqs.weight must be positive")
    kind: RopeKind | str = config.expect("rope.scaling.type", (None, "none", "linear", "yarn")) or "none"
    shared: dict[str, Any] = {
        "rotary_dim": rotary_dim,
        "theta": config.default("rope.freq_base", 10_000.0),
        "interleaved": interleaved,
        "frequency_divisors": divisors,
    }
    if kind == "yarn":
        return RopeSpec(kind="yarn", **shared, **_yarn(config))
    factor = config.default("rope.scaling.factor", config.default("rope.scale_linear", 1.0))
    config.ignore("rope.scaling.original_context_length")
    if kind == "linear" and factor:
        return RopeSpec(kind="linear", factor=factor, **shared)
    if factor not in (0.0, 1.0):
        raise UnsupportedModel(f"{config.source}: rope.scaling.factor is {factor} without a scaling type")
    return RopeSpec(**shared)


def _yarn(config: ConfigReader) -> dict[str, Any]:
    factor = config.require("rope.scaling.factor", float)
    config.expect("rope.scaling.yarn_ext_factor", (None, -1.0, 1.0))
    config.expect("rope.scaling.yarn_log_multiplier", (None, 0.0))
    config.expect("rope.scaling.yarn_attn_factor", (None, 1.0))
    return {
        "factor": factor,
        "original_context": config.size("rope.scaling.original_context_length"),
        "attention_factor": config.default("rope.scaling.attn_factor", 1.0) * yarn_attention_factor(factor),
        "beta_fast": config.default("rope.scaling.yarn_beta_fast", 32.0),
        "beta_slow": config.default("rope.scaling.yarn_beta_slow", 1.0),
    }


def _vocab_size(weights: GGUFWeights) -> int:
    embedding = weights.file.tensors.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        raise ModelFileError(f"{weights.file.path}: tensor token_embd.weight is missing or not a matrix")
    return embedding.shape[0]
