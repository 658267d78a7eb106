"""SafetensorsWeights: the tensors of a Hugging Face checkpoint as weights."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from redline.errors import ModelFileError, UnsupportedModel
from redline.models.safetensors_file import SafetensorsFile, SafetensorsTensor
from redline.models.weights import Progress, unread_message
from redline.ops.arrays import F32
from redline.quant.base import Weight
from redline.quant.float import FloatWeight, float_format

# our name -> theirs, of tensors outside layers and within one
HF_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "blk": "model.layers",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
HARMLESS = re.compile(r".*rotary_emb\.inv_freq")  # recomputed from the configuration


class SafetensorsWeights:
    """A WeightSource over the files of a directory.

    Matrices keep their dtype, or become float32 when `compute` is "float". `norm_offset` is added to the
    weights of norms: Gemma stores them as a difference from one.
    """

    def __init__(
        self,
        directory: Path,
        files: Sequence[SafetensorsFile],
        compute: str,
        names: Mapping[str, str] = HF_NAMES,
        norm_offset: float = 0.0,
        rename: Callable[[str], str | None] = str,
        progress: Progress | None = None,
    ) -> None:
        self.directory = directory
        self.compute = compute
        self._names = names
        self._norm_offset = norm_offset
        self._progress = progress
        self._found = {
            theirs: (file, tensor)
            for file in files
            for tensor in file.tensors.values()
            if (theirs := rename(tensor.name)) is not None
        }
        self._unread = {name: None for name in self._found if not HARMLESS.fullmatch(name)}
        self._bytes_total = sum(tensor.nbytes for _, tensor in self._found.values())
        self._bytes_done = 0

    def has(self, name: str) -> bool:
        return self._translate(name) in self._found

    def vector(self, *parts: tuple[str, int]) -> F32:
        return np.concatenate([self._vector(name, size) for name, size in parts])

    def matrix(self, parts: Sequence[tuple[str, int]], num_inputs: int) -> Weight:
        arrays = [self._array(name, (num_outputs, num_inputs)) for name, num_outputs in parts]
        weight = self._pack(arrays)
        for name, _ in parts:
            self._done(name)
        return weight

    def ignore(self, name: str) -> None:
        """Declare that a tensor need not be read."""
        self._unread.pop(self._translate(name), None)

    def finish(self) -> None:
        if self._unread:
            raise UnsupportedModel(unread_message(self.directory, list(self._unread)))

    def _pack(self, arrays_OK: list[npt.NDArray[Any]]) -> Weight:
        return FloatWeight.pack_parts(arrays_OK, self._format(arrays_OK))

    def _format(self, arrays_OK: list[npt.NDArray[Any]]) -> str:
        """What the matrices become together: what they are, or float32."""
        mixed = len({array.dtype for array in arrays_OK}) > 1
        return "f32" if self.compute == "float" or mixed else float_format(arrays_OK[0])

    def _vector(self, name: str, size: int) -> F32:
        values: F32 = self._array(name, (size,)).astype(np.float32)
        self._done(name)
        return values + np.float32(self._norm_offset) if name.endswith("norm.weight") else values

    def _array(self, name: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        file, tensor = self._find(name, shape)
        if tensor.shape != shape:
            raise ModelFileError(
                f"{file.path}: tensor {tensor.name} has shape {tensor.shape}, expected {shape}"
            )
        return file.array(tensor)

    def _find(self, name: str, shape: tuple[int, ...]) -> tuple[SafetensorsFile, SafetensorsTensor]:
        theirs = self._translate(name)
        if theirs not in self._found:
            raise ModelFileError(f"{self.directory}: tensor {theirs} is missing; it must have shape {shape}")
        return self._found[theirs]

    def _translate(self, name: str) -> str:
        if not name.startswith("blk."):
            part, kind = name.rsplit(".", 1)
            return f"{self._names.get(part, part)}.{kind}"
        _, layer, part, kind = name.split(".")
        return f"{self._names['blk']}.{layer}.{self._names.get(part, part)}.{kind}"

    def _done(self, name: str) -> None:
        theirs = self._translate(name)
        file, tensor = self._found[theirs]
        file.drop_pages(tensor)
        if theirs in self._unread:
            del self._unread[theirs]
            self._bytes_done += tensor.nbytes
        if self._progress is not None:
            self._progress(self._bytes_done, self._bytes_total)
