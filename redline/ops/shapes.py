"""The ops as shapes alone: what a forward pass needs in memory, without weights, arithmetic or arrays.

`shapes(memory)` is a backend whose results are arrays of one repeated zero. They are sliced, reshaped and
handed on like others and take no memory; `memory` hears when one would be made, and when its last view is
gone.
"""

from __future__ import annotations

import weakref
from math import prod
from typing import Any, Protocol, Unpack

import numpy as np

from redline.ops.arrays import F32, I32
from redline.ops.fused import Fused
from redline.ops.registry import Backend


class Memory(Protocol):
    """Where the results of ops lie."""

    def take(self, num_bytes: int) -> int:
        """A place for so many bytes."""

    def give_back(self, place: int) -> None:
        """Nothing lies there any more."""


class ArenaMemory:
    """As the arena of recorded graphs (csrc/graph.h) places arrays. `blocks`: the bytes of each."""

    def __init__(self) -> None:
        self.blocks: list[int] = []
        self._used: set[int] = set()

    def take(self, num_bytes: int) -> int:
        fits = [
            (size, place)
            for place, size in enumerate(self.blocks)
            if place not in self._used and num_bytes <= size <= 2 * num_bytes + 4096
        ]
        place = min(fits)[1] if fits else len(self.blocks)
        if not fits:
            self.blocks.append(num_bytes)
        self._used.add(place)
        return place

    def give_back(self, place: int) -> None:
        self._used.remove(place)


# Ops whose result has the shape of their first operand.
LIKE_FIRST = (
    "rmsnorm",
    "layernorm",
    "add",
    "multiply",
    "match_magnitude",
    "gate_mul",
    "gaussian_topk",
    "known_ids",
    "softcap",
    "scale",
    "rope",
    "attention",
    "naive_attention",
    "rope_attention",
)


def shapes(memory: Memory) -> Backend:
    """The ops that models call, on arrays without memory."""

    def new(shape: tuple[int, ...]) -> F32:
        owner = np.zeros(1, np.float32)
        weakref.finalize(owner, memory.give_back, memory.take(4 * prod(shape)))
        return np.ndarray(shape, np.float32, owner, strides=(0,) * len(shape))

    def like(x: F32, *_: Any) -> F32:
        return new(x.shape)

    def matmul(x_TK: F32, packed: Any, **fused: Unpack[Fused]) -> F32:
        out = fused.get("out")
        num_outputs = packed.num_outputs // (1 if fused.get("gate") is None else 2)
        return new((len(x_TK), num_outputs)) if out is None else out

    def embedding(ids_T: I32, packed: Any) -> F32:
        return new((len(ids_T), packed.num_inputs))

    def halves(both_T2F: F32, *_: Any) -> F32:
        return new((len(both_T2F), both_T2F.shape[1] // 2))

    return Backend(
        name="shapes",
        empty=new,
        matmul_float=matmul,
        matmul_int=matmul,
        embedding_float=embedding,
        embedding_int=embedding,
        silu_mul=halves,
        gelu_mul=halves,
        mix=lambda x_TD, weights_TM, addend_TD: new(addend_TD.shape),
        kv_store=lambda *_: None,
        **dict.fromkeys(LIKE_FIRST, like),
    )
