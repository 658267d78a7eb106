"""GGUFWeights: the tensors of a GGUF file as weights, blocks kept as stored where a kernel reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np

from redline.errors import ModelFileError, UnsupportedModel
from redline.layers.linear import StackedWeight
from redline.models.gguf_file import GGUFFile, GGUFTensor
from redline.models.weights import Progress, unread_message
from redline.ops.arrays import F32
from redline.quant.base import Weight
from redline.quant.gguf import weight_from_gguf

VECTOR_DTYPES: dict[str, Any] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": ml_dtypes.bfloat16}


class GGUFWeights:
    """A WeightSource over one file. `compute` is "int8" (blocks as stored) or "float" (float32)."""

    def __init__(self, file: GGUFFile, compute: str, progress: Progress | None = None) -> None:
        self.file = file
        self.compute = compute
        self._progress = progress
        self._unread = dict.fromkeys(file.tensors)
        self._bytes_total = sum(tensor.nbytes for tensor in file.tensors.values())
        self._bytes_done = 0

    def has(self, name: str) -> bool:
        return name in self.file.tensors

    def vector(self, *parts: tuple[str, int]) -> F32:
        return np.concatenate([self._vector(name, size) for name, size in parts])

    def matrix(self, parts: Sequence[tuple[str, int]], num_inputs: int) -> Weight:
        tensors = [self._tensor(name, (num_outputs, num_inputs)) for name, num_outputs in parts]
        if len({tensor.type.id for tensor in tensors}) == 1:
            weight = self._weight(tensors)
        else:
            weight = StackedWeight([self._weight([tensor]) for tensor in tensors])
        for tensor in tensors:
            self._done(tensor)
        return weight

    def finish(self) -> None:
        if self._unread:
            raise UnsupportedModel(unread_message(self.file.path, list(self._unread)))

    def _vector(self, name: str, size: int) -> F32:
        tensor = self._tensor(name, (size,))
        if tensor.type.name not in VECTOR_DTYPES:
            raise UnsupportedModel(
                f"{self.file.path}: {name} is stored as {tensor.type.name}; a vector must be "
                f"{', '.join(VECTOR_DTYPES)}"
            )
        values: F32 = self.file.blocks(tensor).view(VECTOR_DTYPES[tensor.type.name]).astype(np.float32)
        self._done(tensor)
        return values

    def _weight(self, tensors: list[GGUFTensor]) -> Weight:
        blocks = [(self.file.blocks(tensor), tensor.shape[0]) for tensor in tensors]
        num_outputs = sum(tensor.shape[0] for tensor in tensors)
        return weight_from_gguf(blocks, tensors[0].type.id, (num_outputs, tensors[0].shape[1]), self.compute)

    def _tensor(self, name: str, shape: tuple[int, ...]) -> GGUFTensor:
        tensor = self.file.tensors.get(name)
        if tensor is None:
            raise ModelFileError(f"{self.file.path}: tensor {name} is missing; it must have shape {shape}")
        if tensor.shape != shape:
            raise ModelFileError(
                f"{self.file.path}: tensor {name} has shape {tensor.shape}, expected {shape}"
            )
        return tensor

    def _done(self, tensor: GGUFTensor) -> None:
        self.file.drop_pages(tensor)
        if tensor.name in self._unread:
            del self._unread[tensor.name]
            self._bytes_done += tensor.nbytes
        if self._progress is not None:
            self._progress(self._bytes_done, self._bytes_total)
