"""MedusaHeads: small networks on the last hidden state, each of which guesses a token further ahead.

Cai et al., "Medusa: Simple LLM Inference Acceleration Framework with Multiple Decoding Heads", ICML 2024.
Head i is `x + silu(W x + b)`, once or more often, and a matrix to the vocabulary; it guesses the token i + 1
places behind the one that the model itself says. The layout is that of the public checkpoints:
config.json, and medusa_lm_head.safetensors with `{i}.{layer}.linear.weight`, `{i}.{layer}.linear.bias` and
`{i}.{layers}.weight`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from redline.errors import ModelFileError, UnsupportedModel
from redline.models.config_reader import ConfigReader
from redline.models.safetensors_file import SafetensorsFile, read_json_object
from redline.ops.arrays import F32, I32
from redline.ops.packed import PackedFloat
from redline.quant.float import FloatWeight, float_format

FILE = "medusa_lm_head.safetensors"
MOST = 64  # heads, and layers of one
# What training and the original code keep beside the two numbers; nothing of it changes the heads.
HARMLESS = (
    "architectures",
    "base_model_name_or_path",
    "model_type",
    "torch_dtype",
    "transformers_version",
    "version",
)


class _Layer(NamedTuple):
    """x + silu(weight x + bias)."""

    weight: FloatWeight
    bias_D: F32


@dataclass(frozen=True, slots=True)
class _Head:
    layers: tuple[_Layer, ...]
    output: FloatWeight

    def logits(self, ops: Any, x_RD: F32) -> F32:
        """[R, vocabulary]."""
        for weight, bias_D in self.layers:
            y_RD = weight.matmul(ops, x_RD, bias=bias_D)
            x_RD = x_RD + y_RD / (1 + np.exp(-y_RD))
        logits_RV: F32 = self.output.matmul(ops, x_RD)
        return logits_RV


class MedusaHeads:
    """The heads in a directory, in float32 when `compute` is "float", else as stored.

    Raises ModelFileError when a file is missing, wrong or does not fit the model, UnsupportedModel for what
    the heads have beyond the above.
    """

    def __init__(self, path: Path, hidden_size: int, vocab_size: int, compute: str) -> None:
        file = MedusaFile(path, hidden_size, vocab_size)
        self._heads = [file.head(index, compute) for index in range(file.num_heads)]

    @property
    def num_heads(self) -> int:
        return len(self._heads)

    def guess(self, ops: Any, hidden_RD: F32, head: int) -> I32:
        """The likeliest token of one head for each row of hidden states, behind the final norm; [R]."""
        return self.ranked(ops, hidden_RD, head, 1)[0]

    def ranked(self, ops: Any, hidden_RD: F32, head: int, count: int) -> list[I32]:
        """Its `count` likeliest tokens, the likeliest first: [R] each, -1 for a row that has no numbers."""
        logits_RV = self._heads[head].logits(ops, hidden_RD)
        found: list[I32] = []
        for _ in range(count):
            if found:
                logits_RV[np.arange(len(logits_RV)), found[-1]] = -np.inf
            found.append(ops.argmax(logits_RV))
        return found


class MedusaFile:
    """The files of heads, checked; no weight is read."""

    def __init__(self, path: Path, hidden_size: int, vocab_size: int) -> None:
        source = path / "config.json"
        config = ConfigReader(read_json_object(source), str(source))
        self.num_heads = _count(config, "medusa_num_heads")
        self._num_layers = _count(config, "medusa_num_layers")
        config.ignore(*HARMLESS)
        config.done()
        if not (path / FILE).is_file():
            raise ModelFileError(f"{path}: there is no {FILE}; heads of another layout are not supported")
        self._file = SafetensorsFile(path / FILE)
        self._shapes = dict(self._expected(hidden_size, vocab_size))
        self._check()

    def num_bytes(self, compute: str) -> int:
        """Of the weights, as packed."""
        return sum(
            PackedFloat.num_bytes(*shape, self._format(name, compute)) if len(shape) == 2 else 4 * shape[0]
            for name, shape in self._shapes.items()
        )

    def head(self, index: int, compute: str) -> _Head:
        """Read a head."""
        layers = tuple(
            _Layer(
                self._weight(f"{index}.{layer}.linear.weight", compute),
                self._array(f"{index}.{layer}.linear.bias").astype(np.float32),
            )
            for layer in range(self._num_layers)
        )
        return _Head(layers, self._weight(f"{index}.{self._num_layers}.weight", compute))

    def _expected(self, hidden_size: int, vocab_size: int) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {}
        for index in range(self.num_heads):
            for layer in range(self._num_layers):
                shapes[f"{index}.{layer}.linear.weight"] = (hidden_size, hidden_size)
                shapes[f"{index}.{layer}.linear.bias"] = (hidden_size,)
            shapes[f"{index}.{self._num_layers}.weight"] = (vocab_size, hidden_size)
        return shapes

    def _check(self) -> None:
        found = {name: tensor.shape for name, tensor in self._file.tensors.items()}
        for name, shape in self._shapes.items():
            if found.get(name) != shape:
                raise ModelFileError(
                    f"{self._file.path}: tensor {name} is {found.get(name, 'missing')}; the heads of "
                    f"this model have shape {shape} there"
                )
        more = [name for name in found if name not in self._shapes]
        if more:
            raise UnsupportedModel(f"{self._file.path}: tensors that no head has: {', '.join(more[:8])}")

    def _format(self, name: str, compute: str) -> str:
        return "f32" if compute == "float" else float_format(self._array(name))

    def _weight(self, name: str, compute: str) -> FloatWeight:
        weight = FloatWeight.pack_parts([self._array(name)], self._format(name, compute))
        self._file.drop_pages(self._file.tensors[name])
        return weight

    def _array(self, name: str) -> npt.NDArray[Any]:
        return self._file.array(self._file.tensors[name])


def _count(config: ConfigReader, key: str) -> int:
    value = config.require(key, int)
    if not 1 <= value <= MOST:
        raise ModelFileError(f"{config.source}: {key} is {value}; it must be between 1 and {MOST}")
    return value
