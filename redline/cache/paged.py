"""PagedKV: keys and values of all layers in blocks of tokens (Kwon et al., PagedAttention, 2023)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from redline.errors import CapacityError, ConfigError
from redline.ops.kv_store.layout import DTYPES, cache_shapes


class PagedKV:
    """`k[layer]` and `v[layer]` are the caches of a layer, as ops/kv_store/layout.py describes them.

    `groups[layer]` says to which layer group a layer belongs, `num_blocks[group]` how many blocks each of its
    layers has. The first axis is blocks, and a block has nothing anywhere else: not even the scales of int8.
    The system gives the memory lazily, block by block, as tokens are stored.
    Raises ConfigError for an unknown dtype, CapacityError when the memory is refused.
    """

    def __init__(
        self,
        groups: Sequence[int],
        num_blocks: Sequence[int],
        block_size: int,
        num_kv_heads: int,
        head_dim: int,
        dtype: str,
    ) -> None:
        sizes = (num_kv_heads, block_size, head_dim)
        assert min(len(groups), *num_blocks, *sizes) > 0, f"{groups = } {num_blocks = } {sizes = }"
        self.num_groups = len(num_blocks)
        self.block_size = block_size
        self.dtype = dtype
        self._groups = tuple(groups)
        shapes = [cache_shapes(dtype, count, *sizes) for count in num_blocks]
        self.k = [_zeros(shapes[group][0], dtype) for group in groups]
        self.v = [_zeros(shapes[group][1], dtype) for group in groups]

    @property
    def nbytes(self) -> int:
        return sum(int(cache.nbytes) for cache in (*self.k, *self.v))

    @property
    def token_bytes(self) -> int:
        """Bytes of one token in all layers that keep it."""
        blocks = sum(int(cache.nbytes) // len(cache) for cache in (*self.k, *self.v))
        return blocks // self.block_size

    def block_bytes(self, group: int) -> int:
        """Bytes of one block of a group over all its layers, keys and values."""
        return sum(int(cache.nbytes) // len(cache) for cache in self.caches(group))

    def copy(self, copies: Iterable[tuple[int, int, int]]) -> None:
        """Copy block src to block dst in all layers of a group, for each (group, src, dst) in order."""
        for group, source, target in copies:
            for cache in self.caches(group):
                cache[target] = cache[source]

    def caches(self, group: int) -> list[npt.NDArray[Any]]:
        """The arrays that hold the blocks of a group: keys and values of its layers."""
        return [
            cache
            for caches in (self.k, self.v)
            for cache, member in zip(caches, self._groups, strict=True)
            if member == group
        ]


def block_bytes(num_layers: int, block_size: int, num_kv_heads: int, head_dim: int, dtype: str) -> int:
    """Bytes of one block over all layers, keys and values."""
    itemsize = np.dtype(_numpy_dtype(dtype)).itemsize
    return sum(
        num_layers * math.prod(shape) * itemsize
        for shape in cache_shapes(dtype, 1, num_kv_heads, block_size, head_dim)
    )


def _numpy_dtype(dtype: str) -> npt.DTypeLike:
    if dtype not in DTYPES:
        raise ConfigError(f"K/V format is {dtype!r}; it must be one of {', '.join(DTYPES)}")
    return np.dtype(DTYPES[dtype])


def _zeros(shape: tuple[int, ...], dtype: str) -> npt.NDArray[Any]:
    try:
        return np.zeros(shape, _numpy_dtype(dtype))
    except (MemoryError, ValueError) as error:
        raise CapacityError(
            f"the K/V cache of {shape[0]} blocks does not fit in memory; lower kv_memory"
        ) from error
