"""load_weights(): from a path to a decoder that can run, without tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from redline.errors import ConfigError, ModelFileError, UnsupportedModel
from redline.models.config_reader import ConfigReader
from redline.models.decoder import Decoder
from redline.models.gguf_file import GGUFFile
from redline.models.gguf_weights import GGUFWeights
from redline.models.registry import family
from redline.models.safetensors_file import open_safetensors, read_json_object
from redline.models.safetensors_weights import SafetensorsWeights
from redline.models.weights import Progress


def load_weights(path: Path | GGUFFile, ops: Any, compute: str, progress: Progress | None = None) -> Decoder:
    """The model in a GGUF file, which may be open, or in a directory with config.json and safetensors.

    `compute` is "int8" (weights as stored, integer kernels) or "float" (everything in float32). `progress`
    hears (bytes done, bytes in all). Raises ModelError when a file is missing, wrong or not supported.
    """
    if compute not in ("int8", "float"):
        raise ConfigError(f"compute is {compute!r}; it must be 'int8' or 'float'")
    if not isinstance(path, GGUFFile) and path.is_dir():
        return load_directory(path, ops, partial(SafetensorsWeights, compute=compute, progress=progress))
    file = path if isinstance(path, GGUFFile) else GGUFFile(path)
    return load_gguf(file, ops, GGUFWeights(file, compute, progress))


def load_gguf(file: GGUFFile, ops: Any, weights: GGUFWeights) -> Decoder:
    """The model in an opened file, of these weights of it."""
    if file.metadata.get("split.count", 1) != 1:
        raise UnsupportedModel(f"{file.path}: one of several parts; merge them with llama-gguf-split --merge")
    architecture = file.metadata.get("general.architecture")
    if not isinstance(architecture, str):
        raise ModelFileError(f"{file.path}: general.architecture is {architecture!r}; it must be text")
    found = family(architecture, str(file.path))
    return Decoder(found.spec_from_gguf(weights), weights, found.block, ops, found.stem)


def load_directory(path: Path, ops: Any, make_weights: Callable[..., SafetensorsWeights]) -> Decoder:
    """The model in a directory; `make_weights` makes a source of its files."""
    source = path / "config.json"
    values = read_json_object(source)
    architectures = values.get("architectures")
    if (
        not isinstance(architectures, list)
        or len(architectures) != 1
        or not isinstance(architectures[0], str)
    ):
        raise ModelFileError(f"{source}: architectures is {architectures!r:.80}; it must name one")
    found = family(architectures[0], str(source))
    spec = found.spec_from_hf(ConfigReader(values, str(source)))
    weights = make_weights(
        path,
        open_safetensors(path),
        names=found.hf_names,
        norm_offset=found.hf_norm_offset,
        rename=found.hf_rename,
    )
    if spec.tied_embeddings:
        weights.ignore("output.weight")  # some checkpoints store the tied matrix twice
    for index, layer in enumerate(spec.layers):
        if layer.kv_owner is not None:  # some store what a layer that shares keys and values never reads
            for part in ("attn_k", "attn_v", "attn_k_norm"):
                weights.ignore(f"blk.{index}.{part}.weight")
    return Decoder(spec, weights, found.block, ops, found.stem)
