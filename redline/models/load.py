"""load_model(): from a path to a model that can run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redline.errors import ConfigError
from redline.models.chat_template import ChatTemplate
from redline.models.decoder import Decoder
from redline.models.gguf_file import GGUFFile
from redline.models.load_weights import load_directory, load_gguf
from redline.models.spec import ModelSpec
from redline.models.tokenizer import Tokenizer
from redline.models.weights import Progress
from redline.ops.memory import return_freed_memory


@dataclass(slots=True)
class LoadedModel:
    """A model and how its text becomes tokens. `max_context` is what this run serves."""

    spec: ModelSpec
    decoder: Decoder
    tokenizer: Tokenizer
    chat_template: ChatTemplate | None
    name: str
    max_context: int

    def set_max_context(self, max_context: int) -> None:
        """State the longest context to be served, before any token is computed. Raises ConfigError."""
        self.max_context = check_context(max_context, self.spec)
        self.decoder.set_max_context(max_context)


def load_model(
    path: Path, ops: Any, compute: str, max_context: int | None = None, progress: Progress | None = None
) -> LoadedModel:
    """Load a GGUF file, or a directory with config.json and safetensors.

    `compute` is "int8" (weights as stored, integer kernels) or "float" (everything in float32).
    Raises ModelError when the files are missing, wrong or not supported, ConfigError for a bad `max_context`.
    """
    path = Path(path)
    if path.is_dir():
        tokenizer = Tokenizer.from_dir(path)
        decoder = load_directory(path, ops, compute, progress)
    else:
        file = GGUFFile(path)
        tokenizer = Tokenizer.from_gguf(file.metadata)
        return_freed_memory()  # a vocabulary passes through a lot of it, and the weights come from elsewhere
        decoder = load_gguf(file, ops, compute, progress)
    name = path.name if path.is_dir() else path.stem
    spec = decoder.spec
    model = LoadedModel(spec, decoder, tokenizer, ChatTemplate.of(tokenizer), name, spec.max_context)
    model.set_max_context(spec.max_context if max_context is None else max_context)
    return model


def check_context(max_context: int, spec: ModelSpec) -> int:
    """`max_context`, if the model can serve it. Raises ConfigError."""
    if not 1 <= max_context <= spec.max_context:
        raise ConfigError(f"max_context is {max_context}; this model serves 1 to {spec.max_context} tokens")
    return max_context
