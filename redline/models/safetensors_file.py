"""SafetensorsFile: a memory-mapped safetensors file, its header checked before use.

The format: https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, NoReturn

import ml_dtypes
import numpy as np
import numpy.typing as npt

from redline.errors import ModelFileError, ModelNotFound, UnsupportedModel
from redline.models.mapped_file import MappedFile

MAX_HEADER = 100_000_000  # bytes, the format's own limit
DTYPES: dict[str, npt.DTypeLike] = {"F32": "<f4", "F16": "<f2", "BF16": ml_dtypes.bfloat16}
# types other than weights of a dense model; sizes only, to check the layout of the file
OTHER_SIZES = {
    "F64": 8,
    "I64": 8,
    "U64": 8,
    "I32": 4,
    "U32": 4,
    "I16": 2,
    "U16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}
OTHER_SIZES |= {"F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1}


@dataclass(frozen=True, slots=True)
class SafetensorsTensor:
    """Where a tensor lies."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int  # byte offset in the file
    nbytes: int


class SafetensorsFile:
    """The tensors of one file. Raises ModelFileError when the header is wrong."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = MappedFile(path)
        header, data_start = self._header()
        self.tensors = {
            name: self._tensor(name, entry, data_start)
            for name, entry in header.items()
            if name != "__metadata__"
        }
        self._check_overlap()

    def array(self, tensor: SafetensorsTensor) -> npt.NDArray[Any]:
        """A view of the map, or a copy where the file does not align it.

        Raises UnsupportedModel for a dtype that is no float weight.
        """
        if tensor.dtype not in DTYPES:
            raise UnsupportedModel(
                f"{self.path}: tensor {tensor.name} has dtype {tensor.dtype}; supported: {', '.join(DTYPES)}"
            )
        data = self.file.view(tensor.start, tensor.nbytes).view(np.dtype(DTYPES[tensor.dtype]))
        return np.require(data.reshape(tensor.shape), requirements="A")

    def drop_pages(self, tensor: SafetensorsTensor) -> None:
        """Give back the memory that reading a tensor took."""
        self.file.drop_pages(tensor.start, tensor.nbytes)

    def _header(self) -> tuple[dict[str, Any], int]:
        if self.file.size < 8:
            raise self._bad(f"{self.file.size} bytes are too few for a safetensors file")
        length = int.from_bytes(self.file.data[:8], "little")
        if length > min(MAX_HEADER, self.file.size - 8):
            raise self._bad(f"the header claims {length} bytes, the file has {self.file.size}")
        return parse_json_object(self.file.data[8 : 8 + length], f"{self.path}: header"), 8 + length

    def _tensor(self, name: str, entry: Any, data_start: int) -> SafetensorsTensor:
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise self._bad(f"tensor {name!r} must be described by dtype, shape and data_offsets")
        shape = self._integers(name, "shape", entry["shape"])
        begin, end = self._integers(name, "data_offsets", entry["data_offsets"], 2)
        dtype = entry["dtype"]
        if not isinstance(dtype, str) or dtype not in DTYPES and dtype not in OTHER_SIZES:
            raise UnsupportedModel(f"{self.path}: tensor {name!r} has the unknown dtype {dtype!r:.60}")
        nbytes = prod(shape) * (OTHER_SIZES.get(dtype) or np.dtype(DTYPES[dtype]).itemsize)
        if end - begin != nbytes or data_start + end > self.file.size:
            raise self._bad(
                f"tensor {name!r} ({dtype} {shape}, {nbytes} bytes) claims bytes {begin} to {end} of "
                f"{self.file.size - data_start}; the file is truncated or corrupt, fetch it again"
            )
        return SafetensorsTensor(name, dtype, shape, data_start + begin, nbytes)

    def _integers(self, name: str, field: str, values: Any, count: int | None = None) -> tuple[int, ...]:
        if (
            not isinstance(values, list)
            or not all(type(value) is int and 0 <= value < 2**48 for value in values)
            or (len(values) != count if count is not None else len(values) > 8)
        ):
            raise self._bad(f"tensor {name!r}: {field} is {values!r:.80}, not a short list of counts")
        return tuple(values)

    def _check_overlap(self) -> None:
        ordered = sorted(self.tensors.values(), key=lambda tensor: tensor.start)
        for first, second in zip(ordered, ordered[1:], strict=False):
            if first.start + first.nbytes > second.start:
                raise self._bad(f"tensors {first.name!r} and {second.name!r} overlap")

    def _bad(self, message: str) -> ModelFileError:
        return ModelFileError(f"{self.path}: {message}")


def open_safetensors(directory: Path) -> list[SafetensorsFile]:
    """The files of a checkpoint: model.safetensors, or the shards that its index names."""
    index = directory / "model.safetensors.index.json"
    if not index.exists():
        return [SafetensorsFile(_single(directory))]
    weight_map = read_json_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelFileError(f"{index}: weight_map is missing; it must map tensor names to files")
    shards = {name: SafetensorsFile(directory / _plain(index, name)) for name in _distinct(index, weight_map)}
    for tensor, name in weight_map.items():
        if tensor not in shards[name].tensors:
            raise ModelFileError(f"{index}: tensor {tensor} is not in {name}, where the index says it is")
    names = [tensor for shard in shards.values() for tensor in shard.tensors]
    if len(names) != len(set(names)):
        raise ModelFileError(f"{index}: a tensor is in two of its files")
    return list(shards.values())


def _single(directory: Path) -> Path:
    path = directory / "model.safetensors"
    if not path.exists():
        raise ModelNotFound(f"{directory} has neither model.safetensors nor model.safetensors.index.json")
    return path


def _distinct(index: Path, weight_map: dict[str, Any]) -> list[str]:
    names = list(weight_map.values())
    if not all(isinstance(name, str) for name in names):
        raise ModelFileError(f"{index}: weight_map must map tensor names to file names")
    return sorted(set(names))


def _plain(index: Path, name: str) -> str:
    """A name within the directory: an index must not reach other files."""
    if Path(name).name != name or "\0" in name or not name.endswith(".safetensors"):
        raise ModelFileError(f"{index}: {name!r} is not the name of a safetensors file beside it")
    return name


def read_json_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises ModelNotFound or ModelFileError."""
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for a writer
            raise ModelFileError(f"{path}: cannot be read: it is not a regular file")
        return parse_json_object(path.read_bytes(), str(path))
    except FileNotFoundError as error:
        raise ModelNotFound(f"there is no file {path}; is the directory a complete model?") from error
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error}") from error


def parse_json_object(data: bytes, source: str) -> dict[str, Any]:
    """The JSON object in `data`; duplicate keys and NaN are refused. Raises ModelFileError."""
    try:
        value = json.loads(data, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{source}: not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise ModelFileError(f"{source}: holds {type(value).__name__}, expected a JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key appears twice")
    return values


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number that JSON knows")
