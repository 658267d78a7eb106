"""load_model(): from a path to a model that can run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redline.errors import ConfigError
from redline.models.chat_template import ChatTemplate
from redline.models.decoder import Decoder
from redline.models.gguf_file import GGUFFile
from redline.models.load_weights import load_weights
from redline.models.sized_weights import Sizes, size_model
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


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model's files, opened: all but the weights has been read."""

    path: Path
    gguf: GGUFFile | None  # None: a directory
    tokenizer: Tokenizer
    chat_template: ChatTemplate | None

    @property
    def name(self) -> str:
        """The model's own name: that of its file or directory."""
        return self.path.name if self.path.is_dir() else self.path.stem

    def size(self, ops: Any, compute: str) -> tuple[Decoder, Sizes]:
        """A decoder without weights, and what they will take. Raises ModelError as `load` does."""
        return size_model(self.gguf or self.path, ops, compute)

    def load(
        self, ops: Any, compute: str, max_context: int | None = None, progress: Progress | None = None
    ) -> LoadedModel:
        """The model. `compute` is "int8" (weights as stored, integer kernels) or "float" (float32)."""
        decoder = load_weights(self.gguf or self.path, ops, compute, progress)
        spec = decoder.spec
        model = LoadedModel(spec, decoder, self.tokenizer, self.chat_template, self.name, spec.max_context)
        model.set_max_context(spec.max_context if max_context is None else max_context)
        return model


def open_files(path: Path) -> ModelFiles:
    """Open a GGUF file, or a directory with config.json and safetensors.

    Raises ModelError when a file is missing, wrong or not supported.
    """
    gguf = None if path.is_dir() else GGUFFile(path)
    tokenizer = Tokenizer.from_dir(path) if gguf is None else Tokenizer.from_gguf(gguf.metadata)
    template = ChatTemplate.of(tokenizer)
    return_freed_memory()  # a vocabulary passes through a lot of it, and the weights come from elsewhere
    return ModelFiles(path, gguf, tokenizer, template)


def load_model(
    path: Path, ops: Any, compute: str, max_context: int | None = None, progress: Progress | None = None
) -> LoadedModel:
    """Open the files at `path` and load them.

    Raises ModelError when the files are missing, wrong or not supported, ConfigError for a bad `max_context`.
    """
    return open_files(Path(path)).load(ops, compute, max_context, progress)


def check_context(max_context: int, spec: ModelSpec) -> int:
    """`max_context`, if the model can serve it. Raises ConfigError."""
    if not 1 <= max_context <= spec.max_context:
        raise ConfigError(f"max_context is {max_context}; this model serves 1 to {spec.max_context} tokens")
    return max_context
