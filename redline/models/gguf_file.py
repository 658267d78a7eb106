"""GGUFFile: a memory-mapped GGUF file, every number of its header checked before it is used.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from struct import Struct
from typing import Any

import numpy as np
import numpy.typing as npt

from redline.errors import ModelFileError, UnsupportedModel
from redline.models.ggml_types import GGML_TYPES, GGMLType
from redline.models.mapped_file import MappedFile

U32, U64 = Struct("<I"), Struct("<Q")
# value type id -> how one value is stored; 8 is text, 9 an array
SCALARS: dict[int, Struct] = {
    type_id: Struct("<" + code) for type_id, code in enumerate("BbHhIif?") if type_id < 8
} | {10: Struct("<Q"), 11: Struct("<q"), 12: Struct("<d")}
SCALAR_DTYPES = {0: "u1", 1: "i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "?"}
SCALAR_DTYPES |= {10: "<u8", 11: "<i8", 12: "<f8"}
STRING, ARRAY = 8, 9
MAX_DIMS = 4
MAX_KEY = 65_535
MIN_KEY_VALUE = 8 + 4 + 1  # bytes of the shortest key and value
MIN_TENSOR = 8 + 4 + 8 + 4 + 8


@dataclass(frozen=True, slots=True)
class GGUFTensor:
    """Where a tensor lies. `shape` is outermost first, as in torch: (outputs, inputs) for a matrix."""

    name: str
    shape: tuple[int, ...]
    type: GGMLType
    start: int  # byte offset in the file
    nbytes: int


@dataclass(frozen=True, slots=True)
class _Strings:
    """An array of texts that was measured but not decoded."""

    starts: array[int]  # offsets of the length words


class GGUFFile:
    """Header and tensors of one file.

    `metadata` maps keys to int, float, bool, str, list[str] or a NumPy array. Opening reads the header only
    and raises ModelFileError when the file contradicts itself, UnsupportedModel for what it does not know.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = MappedFile(path)
        header = _HeaderReader(self.file)
        num_tensors = header.preamble()
        self.metadata = header.metadata
        self.tensors = header.tensors(num_tensors)

    def blocks(self, tensor: GGUFTensor) -> npt.NDArray[np.uint8]:
        """The raw bytes of a tensor, a view of the map."""
        return self.file.view(tensor.start, tensor.nbytes)

    def drop_pages(self, tensor: GGUFTensor) -> None:
        """Give back the memory that reading a tensor took; reading it again works and is slower."""
        self.file.drop_pages(tensor.start, tensor.nbytes)


class GGUFMetadata(Mapping[str, Any]):
    """The key/value part. Arrays of text are decoded each time they are asked for, and not kept: a vocabulary
    is most of a header, and the tokenizer has its own copy.
    """

    def __init__(self, file: MappedFile, values: dict[str, Any]) -> None:
        self._file = file
        self._values = values

    def __getitem__(self, key: str) -> Any:
        value = self._values[key]
        return self._decode(key, value) if isinstance(value, _Strings) else value

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def section(self, prefix: str) -> dict[str, Any]:
        """The keys that start with `prefix` and a dot, without these; arrays as lists."""
        start = prefix + "."
        values = {key.removeprefix(start): self[key] for key in self if key.startswith(start)}
        return {
            key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in values.items()
        }

    def _decode(self, key: str, strings: _Strings) -> list[str]:
        data, length_at = self._file.data, U64.unpack_from
        texts = (data[at + 8 : at + 8 + length_at(data, at)[0]] for at in strings.starts)
        try:
            return [text.decode() for text in texts]
        except UnicodeDecodeError as error:
            raise ModelFileError(f"{self._file.path}: {key} holds text that is not UTF-8: {error}") from error


class _HeaderReader:
    """A cursor over the header. Every read is checked against the end of the file."""

    def __init__(self, file: MappedFile) -> None:
        self.file = file
        self.at = 0
        self.values: dict[str, Any] = {}
        self.metadata = GGUFMetadata(file, self.values)

    def preamble(self) -> int:
        """Read magic, version, counts and all key/values; the number of tensors."""
        if self._take(4, "magic") != b"GGUF":
            raise self._bad("it does not start with 'GGUF', so it is not a GGUF file")
        version = self._number(U32, "version")
        if version not in (2, 3):
            big = " (a big-endian file)" if version in (2 << 24, 3 << 24) else ""
            raise UnsupportedModel(
                f"{self.file.path}: GGUF version {version}{big}; versions 2 and 3 are read"
            )
        num_tensors = self._count(U64, "tensor_count", MIN_TENSOR)
        for index in range(self._count(U64, "kv_count", MIN_KEY_VALUE)):
            key = self._text(f"key {index}", MAX_KEY)
            if key in self.values:
                raise self._bad(f"key {key!r} appears twice")
            self.values[key] = self._value(key, self._number(U32, f"type of {key}"))
        return num_tensors

    def tensors(self, num_tensors: int) -> dict[str, GGUFTensor]:
        """Read the tensor descriptions and check that they lie in the file without overlap."""
        described: dict[str, tuple[tuple[int, ...], GGMLType, int]] = {}
        for index in range(num_tensors):
            name = self._text(f"name of tensor {index}", MAX_KEY)
            if name in described:
                raise self._bad(f"tensor {name!r} appears twice")
            described[name] = self._description(name)
        alignment = self._alignment()
        data_start = -(-self.at // alignment) * alignment
        found = {
            name: self._place(name, *description, data_start, alignment)
            for name, description in described.items()
        }
        self._check_overlap(list(found.values()))
        return found

    def _description(self, name: str) -> tuple[tuple[int, ...], GGMLType, int]:
        num_dims = self._number(U32, f"n_dims of {name}")
        if not 1 <= num_dims <= MAX_DIMS:
            raise self._bad(f"tensor {name!r} has {num_dims} dimensions; 1 to {MAX_DIMS} are possible")
        dims = [self._number(U64, f"dimension of {name}") for _ in range(num_dims)]
        type_id = self._number(U32, f"type of {name}")
        offset = self._number(U64, f"offset of {name}")
        if type_id not in GGML_TYPES:
            raise UnsupportedModel(f"{self.file.path}: tensor {name!r} has the unknown ggml type {type_id}")
        return tuple(reversed(dims)), GGML_TYPES[type_id], offset

    def _place(
        self,
        name: str,
        shape: tuple[int, ...],
        ggml_type: GGMLType,
        offset: int,
        data_start: int,
        alignment: int,
    ) -> GGUFTensor:
        if min(shape) < 1 or shape[-1] % ggml_type.block_size:
            raise self._bad(
                f"tensor {name!r} has shape {shape}; dimensions must be at least 1 and the last a multiple "
                f"of {ggml_type.block_size}, the block of {ggml_type.name}"
            )
        nbytes = prod(shape) // ggml_type.block_size * ggml_type.block_bytes
        start = data_start + offset
        if offset % alignment:
            raise self._bad(f"tensor {name!r} has offset {offset}, not a multiple of {alignment}")
        if start + nbytes > self.file.size:
            raise self._bad(
                f"tensor {name!r} ({ggml_type.name} {shape}) needs bytes {start} to {start + nbytes}, the "
                f"file has {self.file.size}; it is truncated or corrupt, fetch it again"
            )
        return GGUFTensor(name, shape, ggml_type, start, nbytes)

    def _check_overlap(self, tensors: list[GGUFTensor]) -> None:
        tensors.sort(key=lambda tensor: tensor.start)
        for first, second in zip(tensors, tensors[1:], strict=False):
            if first.start + first.nbytes > second.start:
                raise self._bad(f"tensors {first.name!r} and {second.name!r} overlap at byte {second.start}")

    def _alignment(self) -> int:
        alignment = self.values.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 1 <= alignment <= 2**20 or alignment & (alignment - 1):
            raise self._bad(f"general.alignment is {alignment!r}; it must be a power of two up to 2**20")
        return alignment

    def _value(self, key: str, type_id: int) -> Any:
        if type_id == STRING:
            return self._text(key, self.file.size)
        if type_id == ARRAY:
            return self._array(key)
        if type_id not in SCALARS:
            raise UnsupportedModel(f"{self.file.path}: {key} has the unknown value type {type_id}")
        return self._number(SCALARS[type_id], key)

    def _array(self, key: str) -> Any:
        type_id = self._number(U32, f"element type of {key}")
        if type_id == STRING:
            return self._strings(key, self._count(U64, f"length of {key}", 8))
        if type_id not in SCALARS:
            raise UnsupportedModel(f"{self.file.path}: {key} is an array of the unknown type {type_id}")
        dtype = np.dtype(SCALAR_DTYPES[type_id])
        count = self._count(U64, f"length of {key}", dtype.itemsize)
        return np.frombuffer(self._take(count * dtype.itemsize, key), dtype)

    def _strings(self, key: str, count: int) -> _Strings:
        """Walk over the lengths. The hot loop of opening a file: a vocabulary has 100,000 of them."""
        data, length_at, last = self.file.data, U64.unpack_from, self.file.size - 8
        starts, at = array("Q"), self.at
        for _ in range(count):
            if at > last:
                raise self._truncated(f"an element of {key}", 8)
            starts.append(at)
            at += 8 + length_at(data, at)[0]
        if at > self.file.size:
            raise self._truncated(f"the last element of {key}", at - self.file.size)
        self.at = at
        return _Strings(starts)

    def _text(self, what: str, longest: int) -> str:
        length = self._number(U64, f"length of {what}")
        if length > longest:
            raise self._bad(f"{what} claims {length} bytes; at most {longest} are possible")
        try:
            return self._take(length, what).decode()
        except UnicodeDecodeError as error:
            raise self._bad(f"{what} is not UTF-8: {error}") from error

    def _count(self, kind: Struct, what: str, least_bytes: int) -> int:
        """A number of items that each take at least `least_bytes`, so a lie shows before any loop."""
        count: int = self._number(kind, what)
        if count > (self.file.size - self.at) // least_bytes:
            raise self._bad(
                f"{what} is {count}, more than fits in the {self.file.size - self.at} bytes that follow"
            )
        return count

    def _number(self, kind: Struct, what: str) -> Any:
        return kind.unpack(self._take(kind.size, what))[0]

    def _take(self, size: int, what: str) -> bytes:
        end = self.at + size
        if end > self.file.size:
            raise self._truncated(what, size)
        taken = self.file.data[self.at : end]
        self.at = end
        return taken

    def _truncated(self, what: str, size: int) -> ModelFileError:
        return self._bad(
            f"it ends at byte {self.file.size}, within {what} ({size} bytes at byte {self.at}); it is "
            "truncated or corrupt, fetch it again"
        )

    def _bad(self, message: str) -> ModelFileError:
        return ModelFileError(f"{self.file.path}: {message}")
