"""PagedKV: keys and values of all layers in blocks of tokens (Kwon et al., PagedAttention, 2023)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import ml_dtypes  # noqa: F401 - tells NumPy the names of bfloat16 and of fp8
import numpy as np
import numpy.typing as npt

from redline.errors import CapacityError, ConfigError
from redline.ops.kv_store.layout import DTYPES, cache_shapes


class PagedKV:
    """`k[layer]` and `v[layer]` are the caches of a layer, as ops/kv_store/layout.py describes them.

    `groups[layer]` says to which layer group a layer belongs, `num_blocks[group]` how many blocks each of its
    layers has. The first axis is blocks, and a block has nothing anywhere else: not even its scales. The
    system gives the memory lazily, block by block, as tokens are stored. Layer i of a model that shares
    caches between layers has those of layer owners[i], the same arrays. Raises ConfigError for an unknown
    dtype or one that the heads do not fit, CapacityError when the memory is refused.
    """

    def __init__(
        self,
        groups: Sequence[int],
        num_blocks: Sequence[int],
        block_size: int,
        num_kv_heads: int,
        head_dim: int,
        dtype: str,
        owners: Sequence[int] | None = None,
    ) -> None:
        owners = range(len(groups)) if owners is None else owners
        assert len(owners) == len(groups), f"{groups = } {owners = }"
        sizes = (num_kv_heads, block_size, head_dim)
        assert min(len(groups), *num_blocks, *sizes) > 0, f"{groups = } {num_blocks = } {sizes = }"
        self.num_groups = len(num_blocks)
        self.block_size = block_size
        self.dtype = dtype
        shapes = [cache_shapes(dtype, count, *sizes) for count in num_blocks]
        stored = {layer: [_zeros(shape, dtype) for shape in shapes[groups[layer]]] for layer in set(owners)}
        self.k = [stored[owner][0] for owner in owners]
        self.v = [stored[owner][1] for owner in owners]
        self._caches = [
            [cache for layer in sorted(stored) if groups[layer] == group for cache in stored[layer]]
            for group in range(len(num_blocks))
        ]

    @property
    def nbytes(self) -> int:
        return sum(int(cache.nbytes) for caches in self._caches for cache in caches)

    @property
    def token_bytes(self) -> int:
        """Bytes of one token in all layers that keep it."""
        return sum(self.block_bytes(group) for group in range(self.num_groups)) // self.block_size

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
        return self._caches[group]


def block_bytes(num_layers: int, block_size: int, num_kv_heads: int, head_dim: int, dtype: str) -> int:
    """Bytes of one block, keys and values, over the layers that store any."""
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
