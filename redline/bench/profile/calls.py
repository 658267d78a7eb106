"""Calls: every call of an op in a forward pass, with its time, its bytes and its multiply-adds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from redline.models.decoder import Decoder
from redline.ops.registry import Backend

MATMULS = ("matmul_int", "matmul_float")
EMBEDDINGS = ("embedding_int", "embedding_float")
ATTENTIONS = ("attention", "rope_attention")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of an op. `part` is the matrix it multiplies with, as the model names it, or the op.

    `layer`: None outside of the layers. `bytes` are those that it must read and write, `kind` is that of its
    multiply-adds: "int8", "float" or "f32".
    """

    part: str
    layer: int | None
    seconds: float
    bytes: int
    macs: int
    kind: str = "f32"


@dataclass(frozen=True, slots=True)
class _Matrix:
    """Where a packed matrix is used."""

    part: str
    layer: int | None
    kind: str


class Recorder:
    """Times the ops of a backend, once it is told to whom its matrices belong.

    `kv_bytes`: of the keys and values of a token in one layer.
    """

    def __init__(self, ops: Backend) -> None:
        self.calls: list[Call] = []
        self.kv_bytes = 0
        self._matrices: dict[int, _Matrix] = {}
        self._layer: int | None = None
        timed = {name: self._timed(name, op) for name, op in vars(ops).items() if callable(op)}
        self.ops = Backend(**{**vars(ops), **timed})

    def know(self, decoder: Decoder) -> None:
        """Learn the names of the matrices of a model."""
        self._matrices = {}
        for number, block in enumerate(decoder.blocks):
            self._learn(block, "", number)
        self._learn(decoder.output, "output", None)

    def _learn(self, item: Any, path: str, layer: int | None) -> None:
        packed = getattr(item, "packed", None)
        if packed is not None:
            kind = {"f32": "f32", "f16": "f32", "bf16": "float"}.get(item.format, "int8")
            self._matrices[id(packed)] = _Matrix(path, layer, kind)
            return
        if isinstance(item, list | tuple):
            for place, each in enumerate(item):
                self._learn(each, f"{path} {place}", layer)
        elif type(item).__module__.startswith(("redline.layers", "redline.models", "redline.quant")):
            names = [*getattr(item, "__dict__", ()), *getattr(type(item), "__slots__", ())]
            for name in names:
                inner = path if name in ("weight", "parts") else f"{path}.{name}".lstrip(".")
                self._learn(getattr(item, name, None), inner, layer)

    def _timed(self, name: str, op: Callable[..., Any]) -> Callable[..., Any]:
        def call(*operands: Any, **more: Any) -> Any:
            start_s = time.perf_counter()
            result = op(*operands, **more)
            seconds = time.perf_counter() - start_s
            self.calls.append(self._call(name, operands, more, result, seconds))
            return result

        return call

    def _call(self, name: str, operands: Any, more: Any, result: Any, seconds: float) -> Call:
        if name in MATMULS:
            return self._matmul(operands[0], operands[1], more, result, seconds)
        if name in EMBEDDINGS:
            rows, packed = len(operands[0]), operands[1]
            self._layer = 0  # the first one follows
            per_row = packed.nbytes // packed.num_outputs + 4 * packed.num_inputs
            return Call(part="embedding", layer=None, seconds=seconds, bytes=rows * per_row, macs=0)
        if name in ATTENTIONS:
            num_bytes, macs = attention_cost(operands, self.kv_bytes)
            return Call(
                part=name, layer=self._layer, seconds=seconds, bytes=num_bytes, macs=macs, kind="float"
            )
        arrays = [each for each in (*operands, *more.values(), result) if isinstance(each, np.ndarray)]
        num_bytes = sum(array.nbytes for array in arrays)
        return Call(part=name, layer=self._layer, seconds=seconds, bytes=num_bytes, macs=0)

    def _matmul(self, x_TK: Any, packed: Any, more: Any, result: Any, seconds: float) -> Call:
        matrix = self._matrices.get(id(packed), _Matrix("another matrix", None, "int8"))
        self._layer = matrix.layer
        addend = more.get("addend")
        moved = x_TK.nbytes + result.nbytes + (0 if addend is None else addend.nbytes)
        return Call(
            part=matrix.part,
            layer=matrix.layer,
            seconds=seconds,
            bytes=packed.nbytes + moved,
            macs=len(x_TK) * packed.num_outputs * packed.num_inputs,
            kind=matrix.kind,
        )


def attention_cost(operands: Any, kv_bytes: int) -> tuple[int, int]:
    """Bytes and multiply-adds of one layer's attention.

    It reads the keys and values of a sequence once for all its queries, `kv_bytes` for each token, and
    multiplies each query with every key and every weight with a value.
    """
    q_THD, starts_S1, lengths_S, window = operands[0], operands[-5], operands[-4], operands[-2]
    seen = attended = 0
    for count, length in zip(np.diff(starts_S1).tolist(), lengths_S.tolist(), strict=True):
        reach_T = np.arange(length - count + 1, length + 1)  # tokens that each query sees
        if window:
            reach_T = np.minimum(reach_T, window)
        seen += min(length, count - 1 + int(reach_T[0]))
        attended += int(reach_T.sum())
    heads, dim = q_THD.shape[1:]
    return seen * kv_bytes + 2 * q_THD.nbytes, 2 * attended * heads * dim
