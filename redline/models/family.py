"""Family: how one architecture is read from either file format and which block it is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from redline.models.config_reader import ConfigReader
from redline.models.decoder import BlockType, PreNormBlock
from redline.models.gguf_weights import GGUFWeights
from redline.models.safetensors_weights import HF_NAMES
from redline.models.spec import ModelSpec
from redline.models.stem import PlainStem, StemType


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Both spec functions read everything they are given or raise ModelError."""

    spec_from_hf: Callable[[ConfigReader], ModelSpec]
    spec_from_gguf: Callable[[GGUFWeights], ModelSpec]
    block: BlockType = PreNormBlock
    stem: StemType = PlainStem
    hf_names: Mapping[str, str] = field(default_factory=lambda: HF_NAMES)
    hf_norm_offset: float = 0.0  # added to norm weights of Hugging Face checkpoints
    hf_rename: Callable[[str], str | None] = str  # their tensor name as hf_names has it; None: not needed
