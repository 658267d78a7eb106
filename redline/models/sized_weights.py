"""Weights that know their size and nothing else: what a model will take is known before a matrix is read.

The sources below stand where GGUFWeights and SafetensorsWeights do, so a decoder is put together by the same
code as when it is loaded, and what is missing, left over or of another shape is found as early.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from redline.models.decoder import Decoder
from redline.models.gguf_file import GGUFFile, GGUFTensor
from redline.models.gguf_weights import GGUFWeights
from redline.models.load_weights import load_directory, load_gguf
from redline.models.safetensors_weights import SafetensorsWeights
from redline.ops.arrays import F32
from redline.ops.fused import Fused
from redline.ops.packed import PackedFloat
from redline.ops.weight_memory import LINE
from redline.quant.base import Weight
from redline.quant.gguf import packed_bytes


@dataclass(slots=True)
class SizedWeight:
    """The shape of a stored matrix. Runs on a backend of shapes alone (redline/ops/shapes.py)."""

    num_outputs: int
    num_inputs: int
    nbytes: int
    format: str = field(default="sized", init=False)

    def matmul(self, ops: Any, x_TK: Any, **fused: Unpack[Fused]) -> Any:
        return ops.matmul_float(x_TK, self, **fused)

    def with_precise_activations(self) -> SizedWeight:
        return self

    def embedding(self, ops: Any, ids_T: Any) -> Any:
        return ops.embedding_float(ids_T, self)


class Sizes:
    """Adds up what was asked for."""

    def __init__(self) -> None:
        self.num_bytes = 0
        self.num_outputs = 0  # of all matrices
        self.most_inputs = 0  # of one matrix

    def matrix(self, num_outputs: int, num_inputs: int, num_bytes: int) -> SizedWeight:
        self.num_bytes += -(-num_bytes // LINE) * LINE
        self.num_outputs += num_outputs
        self.most_inputs = max(self.most_inputs, num_inputs)
        return SizedWeight(num_outputs, num_inputs, num_bytes)

    def vector(self, size: int) -> F32:
        """Ones: a vector is small, and some are looked at before the weights."""
        self.num_bytes += size * 4
        return np.ones(size, np.float32)


class SizedGGUF(GGUFWeights):
    """The sizes of a GGUF file's tensors."""

    def __init__(self, file: GGUFFile, compute: str, sizes: Sizes) -> None:
        super().__init__(file, compute)
        self._sizes = sizes

    def _vector(self, name: str, size: int) -> F32:
        self._done(self._tensor(name, (size,)))
        return self._sizes.vector(size)

    def _weight(self, tensors: list[GGUFTensor]) -> Weight:
        shape = sum(tensor.shape[0] for tensor in tensors), tensors[0].shape[1]
        return self._sizes.matrix(*shape, packed_bytes(tensors[0].type.id, shape, self.compute))

    def _done(self, tensor: GGUFTensor) -> None:
        self._unread.pop(tensor.name, None)


class SizedSafetensors(SafetensorsWeights):
    """The sizes of a directory's tensors."""

    def __init__(self, *args: Any, sizes: Sizes, **options: Any) -> None:
        super().__init__(*args, **options)
        self._sizes = sizes

    def _pack(self, arrays_OK: list[npt.NDArray[Any]]) -> Weight:
        shape = sum(len(array) for array in arrays_OK), arrays_OK[0].shape[1]
        return self._sizes.matrix(*shape, PackedFloat.num_bytes(*shape, self._format(arrays_OK)))

    def _vector(self, name: str, size: int) -> F32:
        self._array(name, (size,))
        self._done(name)
        return self._sizes.vector(size)

    def _done(self, name: str) -> None:
        self._unread.pop(self._translate(name), None)


def size_model(source: Path | GGUFFile, ops: Any, compute: str) -> tuple[Decoder, Sizes]:
    """A decoder without weights, and what they will take. Raises ModelError as loading does."""
    sizes = Sizes()
    if isinstance(source, GGUFFile):
        return load_gguf(source, ops, SizedGGUF(source, compute, sizes)), sizes

    def weights(*args: Any, **options: Any) -> SizedSafetensors:
        return SizedSafetensors(*args, compute=compute, sizes=sizes, **options)

    return load_directory(source, ops, weights), sizes
