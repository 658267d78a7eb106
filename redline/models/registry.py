"""Which architectures Redline runs. A family's module is imported when a file needs it."""

from __future__ import annotations

import importlib

from redline.errors import UnsupportedModel
from redline.models.family import Family

# architecture as config.json or general.architecture spells it -> module, name in it
FAMILIES: dict[str, tuple[str, str]] = {
    "llama": ("llama", "LLAMA"),
    "LlamaForCausalLM": ("llama", "LLAMA"),
    "MistralForCausalLM": ("mistral", "MISTRAL"),
    "qwen2": ("qwen", "QWEN2"),
    "Qwen2ForCausalLM": ("qwen", "QWEN2"),
    "qwen3": ("qwen", "QWEN3"),
    "Qwen3ForCausalLM": ("qwen", "QWEN3"),
    "gemma2": ("gemma", "GEMMA2"),
    "Gemma2ForCausalLM": ("gemma", "GEMMA2"),
    "gemma3": ("gemma", "GEMMA3"),
    "Gemma3ForCausalLM": ("gemma", "GEMMA3"),
    "Gemma3ForConditionalGeneration": ("gemma", "GEMMA3_MULTIMODAL"),
    "gemma3n": ("gemma3n", "GEMMA3N"),
    "Gemma3nForCausalLM": ("gemma3n", "GEMMA3N"),
    "Gemma3nForConditionalGeneration": ("gemma3n", "GEMMA3N"),
}


def family(architecture: str, source: str) -> Family:
    """The family of an architecture named in the file `source`. Raises UnsupportedModel when unknown."""
    if architecture not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise UnsupportedModel(f"{source}: architecture is {architecture!r:.80}; Redline runs {known}")
    module, name = FAMILIES[architecture]
    found = getattr(importlib.import_module(f"redline.models.{module}"), name)
    assert isinstance(found, Family)
    return found
