"""What the families share in reading Hugging Face's config.json, as transformers 4 and 5 write it."""

from __future__ import annotations

from typing import Any

from redline.errors import ModelFileError, UnsupportedModel
from redline.models.config_reader import ConfigReader
from redline.models.spec import LayerSpec, RopeKind, RopeSpec, check_num_layers, yarn_attention_factor

# Keys that do not change logits: training, bookkeeping, generation defaults, defaults of old base classes.
HARMLESS = [
    "_name_or_path",
    "architectures",
    "attention_dropout",
    "auto_map",
    "bos_token_id",
    "cache_implementation",
    "chunk_size_feed_forward",
    "dtype",
    "eos_token_id",
    "hidden_dropout",
    "id2label",
    "initializer_range",
    "is_decoder",
    "is_llama_config",
    "label2id",
    "model_type",
    "output_attentions",
    "output_hidden_states",
    "pad_token_id",
    "pretraining_tp",
    "problem_type",
    "return_dict",
    "torch_dtype",
    "transformers.js_config",
    "transformers_version",
    "unsloth_fixed",
    "unsloth_version",
    "use_cache",
]

ACTIVATIONS = {"silu": "silu", "gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh", "gelu_new": "gelu_tanh"}


def common_settings(
    config: ConfigReader,
    *,
    head_dim: int | None = None,
    tied: bool = False,
    intermediate_size: int | None = None,
) -> dict[str, Any]:
    """The ModelSpec fields that every family states alike; the arguments are the family's defaults.

    A family that reads the intermediate size in its own way hands it in.
    """
    config.ignore(*HARMLESS)
    config.expect("is_encoder_decoder", (None, False))
    hidden_size = config.size("hidden_size")
    num_heads = config.size("num_attention_heads")
    return {
        "vocab_size": config.size("vocab_size"),
        "hidden_size": hidden_size,
        "intermediate_size": intermediate_size or config.size("intermediate_size"),
        "num_heads": num_heads,
        "num_kv_heads": config.size("num_key_value_heads", num_heads),
        "head_dim": config.size("head_dim", head_dim or max(hidden_size // num_heads, 1)),
        "norm_eps": config.default("rms_norm_eps", 1e-6),
        "tied_embeddings": config.default("tie_word_embeddings", tied),
    }


def num_layers(config: ConfigReader) -> int:
    """num_hidden_layers, checked."""
    return check_num_layers(config.require("num_hidden_layers", int))


def nullable(config: ConfigReader, key: str, fallback: float) -> float:
    """A number that null switches off (0) and absence sets to the family's default."""
    value = config.default(key, 0.0 if config.is_null(key) else fallback)
    if value < 0:
        raise ModelFileError(f"{config.source}: {key} is {value}; it must not be negative")
    return value


def windowed_layers(config: ConfigReader, ropes: dict[str, RopeSpec], window: int, default: list[str]) -> Any:
    """One LayerSpec per layer from layer_types, or from the family's own pattern when that key is absent."""
    types = config.optional("layer_types", list)
    types = default if types is None else types
    if len(types) != len(default):
        raise ModelFileError(f"{config.source}: {len(types)} layer_types for {len(default)} layers")
    unknown = [kind for kind in types if kind not in ("full_attention", "sliding_attention")]
    if unknown:
        raise UnsupportedModel(f"{config.source}: layer_types has {unknown[0]!r:.60}")
    if "sliding_attention" in types and window < 1:
        raise ModelFileError(
            f"{config.source}: layer_types has sliding_attention, sliding_window is {window}"
        )
    return tuple(
        LayerSpec(rope=ropes[kind], window=window if kind == "sliding_attention" else 0) for kind in types
    )


def read_rope(config: ConfigReader, head_dim: int) -> RopeSpec:
    """The rotary embedding: rope_parameters (transformers 5), else rope_theta and rope_scaling."""
    theta = config.default("rope_theta", 10_000.0)
    partial = config.default("partial_rotary_factor", 1.0)
    config.expect("rope_interleaved", (None, False))
    key = "rope_scaling" if "rope_scaling" in config else "rope_parameters"
    config.ignore("rope_scaling", "rope_parameters")
    values = config.section(key) if key in config else ConfigReader({}, config.source)
    original = config.optional("original_max_position_embeddings", int)
    trained = config.size("max_position_embeddings", 2048)
    return rope_section(values, head_dim, theta, partial, original or trained)


def rope_section(
    values: ConfigReader, head_dim: int, theta: float, partial: float, original_context: int
) -> RopeSpec:
    """One section of rotary settings; the arguments are what holds where it is silent."""
    legacy = values.expect("type", (None, *_READERS))
    kind: RopeKind = values.expect("rope_type", (None, *_READERS)) or legacy or "default"
    rotary_dim = int(head_dim * values.default("partial_rotary_factor", partial))
    shared: dict[str, Any] = {
        "rotary_dim": rotary_dim,
        "theta": values.default("rope_theta", theta),
        "kind": kind,
    }
    specific = _READERS[kind](values, original_context)
    values.done()
    return RopeSpec(**shared, **specific)


def _default(values: ConfigReader, original_context: int) -> dict[str, Any]:
    values.ignore("factor", "original_max_position_embeddings")  # leftovers without effect
    return {}


def _linear(values: ConfigReader, original_context: int) -> dict[str, Any]:
    return {"factor": values.require("factor", float)}


def _dynamic(values: ConfigReader, original_context: int) -> dict[str, Any]:
    values.ignore("original_max_position_embeddings")  # transformers counts from max_position_embeddings
    return {"factor": values.require("factor", float), "original_context": original_context}


def _yarn(values: ConfigReader, original_context: int) -> dict[str, Any]:
    factor = values.require("factor", float)
    mscale, mscale_all_dim = values.default("mscale", 0.0), values.default("mscale_all_dim", 0.0)
    computed = yarn_attention_factor(factor, mscale, mscale_all_dim)
    values.ignore("finetuned")
    return {
        "factor": factor,
        "original_context": values.size("original_max_position_embeddings", original_context),
        "attention_factor": values.default("attention_factor", computed),
        "beta_fast": values.default("beta_fast", 32.0),
        "beta_slow": values.default("beta_slow", 1.0),
        "truncate": values.default("truncate", True),
    }


def _llama3(values: ConfigReader, original_context: int) -> dict[str, Any]:
    return {
        "factor": values.require("factor", float),
        "original_context": values.size("original_max_position_embeddings", original_context),
        "low_freq_factor": values.require("low_freq_factor", float),
        "high_freq_factor": values.require("high_freq_factor", float),
    }


_READERS = {"default": _default, "linear": _linear, "dynamic": _dynamic, "yarn": _yarn, "llama3": _llama3}


def max_context(config: ConfigReader, rope: RopeSpec) -> int:
    """Tokens the model serves: max_position_embeddings, times the extension where the key leaves it out."""
    trained = config.size("max_position_embeddings", 2048)
    if rope.kind in ("linear", "dynamic"):
        return int(trained * rope.factor)
    if rope.kind == "yarn":
        return max(trained, int(rope.original_context * rope.factor))
    return trained
