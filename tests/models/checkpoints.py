"""Tiny random models of every family, made by transformers and written in both file formats."""

from dataclasses import dataclass
from functools import cache
from math import pi

import numpy as np
import pytest

SHAPE = dict(
    vocab_size=67, hidden_size=48, intermediate_size=40, num_hidden_layers=3, max_position_embeddings=64
)
LLAMA3 = dict(
    rope_type="llama3",
    rope_theta=500.0,
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=24,
)
YARN = dict(rope_type="yarn", rope_theta=900.0, factor=4.0, original_max_position_embeddings=16)
LINEAR = dict(rope_type="linear", rope_theta=10_000.0, factor=3.0)
GEMMA3_ROPES = {
    "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
    "full_attention": {"rope_type": "linear", "rope_theta": 5000.0, "factor": 2.0},
}


@dataclass(frozen=True)
class Case:
    """One model: the transformers classes, what differs from SHAPE, and its GGUF architecture."""

    config: str
    model: str
    fields: dict
    gguf: str | None = None  # None: the GGUF format cannot say it
    heads: tuple[int, int] = (6, 2)


CASES = {
    "llama": Case("LlamaConfig", "LlamaForCausalLM", {}, "llama", (3, 1)),
    "llama-tied-llama3": Case(
        "LlamaConfig",
        "LlamaForCausalLM",
        dict(tie_word_embeddings=True, rope_parameters=LLAMA3),
        "llama",
        (3, 3),
    ),
    "llama-biased-linear": Case(
        "LlamaConfig",
        "LlamaForCausalLM",
        dict(attention_bias=True, mlp_bias=True, rope_parameters=LINEAR),
        "llama",
    ),
    "llama-yarn": Case("LlamaConfig", "LlamaForCausalLM", dict(rope_parameters=YARN), "llama"),
    "llama-wide-heads": Case("LlamaConfig", "LlamaForCausalLM", dict(head_dim=24), "llama", (4, 2)),
    "llama-blocks": Case(
        "LlamaConfig", "LlamaForCausalLM", dict(hidden_size=64, intermediate_size=96), "llama", (4, 2)
    ),
    "mistral": Case("MistralConfig", "MistralForCausalLM", dict(sliding_window=5), "llama", (3, 1)),
    "qwen2": Case("Qwen2Config", "Qwen2ForCausalLM", {}, "qwen2"),
    "qwen2-windows": Case(
        "Qwen2Config",
        "Qwen2ForCausalLM",
        dict(use_sliding_window=True, sliding_window=7, max_window_layers=1, rope_parameters=YARN),
    ),
    "qwen3": Case("Qwen3Config", "Qwen3ForCausalLM", dict(head_dim=10, tie_word_embeddings=True), "qwen3"),
    "gemma2": Case(
        "Gemma2Config",
        "Gemma2ForCausalLM",
        dict(
            head_dim=16,
            sliding_window=5,
            query_pre_attn_scalar=16,
            attn_logit_softcapping=2.0,
            final_logit_softcapping=3.0,
        ),
        "gemma2",
        (3, 1),
    ),
    "gemma3": Case(
        "Gemma3TextConfig",
        "Gemma3ForCausalLM",
        dict(
            head_dim=12,
            sliding_window=5,
            query_pre_attn_scalar=12,
            num_hidden_layers=7,
            rope_parameters=GEMMA3_ROPES,
        ),
        "gemma3",
        (3, 1),
    ),
    "gemma3n": Case(
        "Gemma3nTextConfig",
        "Gemma3nForCausalLM",
        dict(
            head_dim=12,
            sliding_window=5,
            num_hidden_layers=6,
            num_kv_shared_layers=3,
            layer_types=["sliding_attention", "full_attention"] * 3,
            rope_parameters=GEMMA3_ROPES,
            vocab_size_per_layer_input=61,
            hidden_size_per_layer_input=7,
            laurel_rank=5,
            altup_num_inputs=3,
            altup_active_idx=1,
            activation_sparsity_pattern=[0.8, 0.0, 0.6, 0.0, 0.0, 0.7],
            final_logit_softcapping=3.0,
        ),
        heads=(3, 1),
    ),
}


@cache
def model(name):
    """The transformers model of a case, in float32, with every parameter random."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    case = CASES[name]
    heads = dict(num_attention_heads=case.heads[0], num_key_value_heads=case.heads[1])
    config = getattr(transformers, case.config)(**SHAPE | heads | case.fields)
    config._attn_implementation = "eager"
    made = getattr(transformers, case.model)(config).float().eval()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for key, parameter in made.named_parameters():
            centre = 1.0 if "norm" in key and not case.model.startswith(("Gemma2", "Gemma3For")) else 0.0
            parameter.copy_(centre + 0.25 * torch.randn(parameter.shape, generator=generator))
    return made


def logits(name, token_ids):
    """What transformers computes for one sequence, [T, vocabulary]."""
    import torch

    with torch.no_grad():
        return model(name)(torch.tensor([token_ids])).logits[0].numpy()


def save_directory(name, path):
    """Write a Hugging Face directory."""
    model(name).save_pretrained(path)
    return path


def round_to(name, types):
    """Round the parameters of a case to what GGUF types can hold; `types` maps parts of names to types."""
    gguf = pytest.importorskip("gguf")
    import torch

    with torch.no_grad():
        for key, parameter in model(name).named_parameters():
            wanted = _type(gguf, key, types)
            if wanted is not None:
                blocks = gguf.quantize(parameter.numpy(), wanted)
                parameter.copy_(torch.from_numpy(gguf.dequantize(blocks, wanted)))


def _type(gguf, key, types):
    """The ggml type of a tensor, or None for F32."""
    wanted = next((types[part] for part in types if part in key), None)
    return None if wanted is None else gguf.GGMLQuantizationType[wanted]


def save_gguf(name, path, types=None):
    """Write a GGUF file as llama.cpp's converter would: F32, or what `types` says for parts of names."""
    gguf = pytest.importorskip("gguf")
    case, config = CASES[name], model(name).config
    writer = gguf.GGUFWriter(path, case.gguf)
    _write_settings(writer, config, case)
    names = gguf.get_tensor_name_map(
        {value: key for key, value in gguf.MODEL_ARCH_NAMES.items()}[case.gguf], config.num_hidden_layers
    )
    state = model(name).state_dict()
    if config.tie_word_embeddings:
        state.pop("lm_head.weight", None)
    for key, tensor in state.items():
        array = _convert(key, tensor.numpy(), case)
        target, wanted = names.get_name(key, try_suffixes=(".weight", ".bias")), _type(gguf, key, types or {})
        if wanted is None:
            writer.add_tensor(target, array)
        else:
            writer.add_tensor(target, gguf.quantize(array, wanted), raw_dtype=wanted)
    if config.rope_parameters.get("rope_type") == "llama3":
        writer.add_tensor("rope_freqs.weight", _llama3_divisors(config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _convert(key, array, case):
    heads, kv_heads = case.heads
    if case.gguf == "llama" and ("q_proj" in key or "k_proj" in key):
        count = heads if "q_proj" in key else kv_heads
        rows = array.reshape(count, 2, len(array) // count // 2, *array.shape[1:])
        return rows.swapaxes(1, 2).reshape(array.shape).copy()
    if case.gguf.startswith("gemma") and key.endswith("norm.weight"):
        return array + 1
    return array


def _write_settings(writer, config, case):
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if head_dim * config.num_attention_heads != config.hidden_size:
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    rope = config.rope_parameters
    if case.gguf == "gemma3":
        writer.add_rope_freq_base_swa(rope["sliding_attention"]["rope_theta"])
        rope = rope["full_attention"]
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] in ("linear", "yarn"):
        writer.add_string(f"{case.gguf}.rope.scaling.type", rope["rope_type"])
        writer.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] == "yarn":
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if getattr(config, "sliding_window", None):
        writer.add_sliding_window(config.sliding_window)
    if case.gguf == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)


def _llama3_divisors(config):
    rope = config.rope_parameters
    dim = config.head_dim
    context, factor = rope["original_max_position_embeddings"], rope["factor"]
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    divisors = []
    for index in range(0, dim, 2):
        wavelength = 2 * pi * rope["rope_theta"] ** (index / dim)
        if wavelength < context / high:
            divisors.append(1.0)
        elif wavelength > context / low:
            divisors.append(factor)
        else:
            smooth = (context / wavelength - low) / (high - low)
            divisors.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(divisors, np.float32)
