"""The text part of Gemma 3n (Gemma Team, 2025).

Gemma 3 with several residual streams (AltUp), a residual of low rank (LAuReL), embeddings for each layer,
sparse MLPs in the first layers, and last layers that read the keys and values of the last layer of their kind
before them. Images and sound are not taken.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, NoReturn

from redline.errors import ModelFileError, UnsupportedModel
from redline.models import hf_config
from redline.models.config_reader import ConfigReader
from redline.models.family import Family
from redline.models.gemma import gemma3_ropes
from redline.models.gemma3n_block import Gemma3nBlock
from redline.models.gemma3n_spec import Gemma3nSpec
from redline.models.gemma3n_stem import Gemma3nStem
from redline.models.gguf_weights import GGUFWeights
from redline.models.safetensors_weights import HF_NAMES
from redline.models.spec import LayerSpec, ModelSpec

PATTERN = 5  # every n-th layer sees the whole context
SPARSITY, SPARSE_LAYERS = 0.95, 10  # of a model with more layers than that, unless it says otherwise
# Without effect on logits: a bound on weights in training, its learning rate, a scale that Gemma 3 had.
HARMLESS = ("altup_coef_clip", "altup_lr_multiplier", "query_pre_attn_scalar")


def spec_from_hf(config: ConfigReader) -> ModelSpec:
    """Reads the text model of multimodal checkpoints too."""
    if "text_config" in config:
        section = config.require("text_config", dict)
        config = ConfigReader(section, f"{config.source}: text_config")
    count = hf_config.num_layers(config)
    common = _common(config, count)
    spec = ModelSpec(
        architecture="gemma3n",
        layers=_layers(config, common["head_dim"], count),
        max_context=config.size("max_position_embeddings", 32_768),
        attention_scale=1.0,
        post_norms=True,
        qk_norm=True,
        v_norm=True,
        final_soft_cap=hf_config.nullable(config, "final_logit_softcapping", 30.0),
        embedding_scale=common["hidden_size"] ** 0.5,
        gemma3n=Gemma3nSpec(
            num_streams=config.size("altup_num_inputs", 4),
            active_stream=config.default("altup_active_idx", 0),
            scale_corrected=config.default("altup_correct_scale", True),
            laurel_rank=config.size("laurel_rank", 64),
            per_layer_vocab=config.size("vocab_size_per_layer_input", 262_144),
            per_layer_size=config.size("hidden_size_per_layer_input", 256),
            sparsity=_sparsity(config, count),
        ),
        **common,
    )
    config.done()
    return spec


def spec_from_gguf(weights: GGUFWeights) -> NoReturn:
    raise UnsupportedModel(
        f"{weights.file.path}: GGUF files of Gemma 3n are not read yet; take the directory with config.json "
        "and safetensors that it was made from"
    )


def _common(config: ConfigReader, num_layers: int) -> dict[str, Any]:
    common = hf_config.common_settings(
        config, head_dim=256, tied=True, intermediate_size=_intermediate_size(config, num_layers)
    )
    config.ignore(*HARMLESS)
    config.expect("use_bidirectional_attention", (None, False))
    activation = config.expect("hidden_activation", (None, *hf_config.ACTIVATIONS))
    common["activation"] = hf_config.ACTIVATIONS[activation or "gelu_pytorch_tanh"]
    common["qkv_bias"] = common["attention_output_bias"] = config.default("attention_bias", False)
    return common


def _intermediate_size(config: ConfigReader, num_layers: int) -> int:
    """One number, or a list with the same for every layer."""
    key = "intermediate_size"
    if not config.is_list(key):
        return config.size(key)
    sizes = config.require(key, list)
    if len(sizes) != num_layers or any(size != sizes[0] for size in sizes):
        raise UnsupportedModel(
            f"{config.source}: {key} is {str(sizes):.80}; it must be the same for all of {num_layers} layers"
        )
    return ConfigReader({key: sizes[0]}, config.source).size(key)


def _layers(config: ConfigReader, head_dim: int, count: int) -> tuple[LayerSpec, ...]:
    """The last `num_kv_shared_layers` read the cache of the last layer of their kind before them."""
    ropes = gemma3_ropes(config, head_dim)
    kinds = ["sliding_attention" if (layer + 1) % PATTERN else "full_attention" for layer in range(count)]
    window = config.size("sliding_window", 512)
    layers: tuple[LayerSpec, ...] = hf_config.windowed_layers(config, ropes, window, kinds)
    num_shared = config.default("num_kv_shared_layers", 15)
    if not 0 <= num_shared < count:
        raise ModelFileError(
            f"{config.source}: num_kv_shared_layers is {num_shared}; it must be in 0..{count - 1}, less than "
            "the number of layers"
        )
    owners = {layer: index for index, layer in enumerate(layers[: count - num_shared])}
    missing = [index for index, layer in enumerate(layers) if layer not in owners]
    if missing:
        raise ModelFileError(
            f"{config.source}: layer {missing[0]} reads the keys and values of the last layer of its kind "
            f"among the first {count - num_shared}, and there is none"
        )
    shared = [replace(layer, kv_owner=owners[layer]) for layer in layers[count - num_shared :]]
    return (*layers[: count - num_shared], *shared)


def _sparsity(config: ConfigReader, num_layers: int) -> tuple[float, ...]:
    key = "activation_sparsity_pattern"
    shares = config.optional(key, list)
    if shares is None:
        sparse = SPARSE_LAYERS if num_layers > SPARSE_LAYERS else 0
        return (SPARSITY,) * sparse + (0.0,) * (num_layers - sparse)
    if len(shares) != num_layers or not all(isinstance(share, int | float) for share in shares):
        raise ModelFileError(
            f"{config.source}: {key} is {str(shares):.80}; it must have a number for each of {num_layers} "
            "layers"
        )
    return tuple(float(share) for share in shares)


HF_GEMMA3N_NAMES = HF_NAMES | {
    "per_layer_token_embd": "model.embed_tokens_per_layer",
    "per_layer_model_proj": "model.per_layer_model_projection",
    "per_layer_proj_norm": "model.per_layer_projection_norm",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
    "altup_router": "altup.modality_router",
    "altup_router_norm": "altup.router_norm",
    "altup_predict_coef": "altup.prediction_coefs",
    "altup_correct_coef": "altup.correction_coefs",
    "altup_correct_scale": "altup.correct_output_scale",
    "laurel_l": "laurel.linear_left",
    "laurel_r": "laurel.linear_right",
    "laurel_post_norm": "laurel.post_laurel_norm",
    "inp_gate": "per_layer_input_gate",
    "proj": "per_layer_projection",
    "post_norm": "post_per_layer_input_norm",
}


def text_tensor(name: str) -> str | None:
    """A tensor's name as HF_GEMMA3N_NAMES has it; None for the parts that read images and sound."""
    if re.match(r"(model\.)?(vision_tower|audio_tower|embed_vision|embed_audio)\.", name):
        return None
    name = re.sub(r"^(model\.language_model|language_model\.model)\.", "model.", name)
    name = re.sub(r"^language_model\.lm_head\.", "lm_head.", name)
    name = re.sub(r"^model\.altup_projections\.", "altup_proj.", name)
    name = re.sub(r"^model\.altup_unembed_projections\.", "altup_unembd_proj.", name)
    return re.sub(r"(\.correct_output_scale)$", r"\1.weight", name)


GEMMA3N = Family(
    spec_from_hf=spec_from_hf,
    spec_from_gguf=spec_from_gguf,
    block=Gemma3nBlock,
    stem=Gemma3nStem,
    hf_names=HF_GEMMA3N_NAMES,
    hf_rename=text_tensor,
)
