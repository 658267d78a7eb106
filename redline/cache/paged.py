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

    The first axis is blocks, and a block has nothing anywhere else: not even the scales of int8. The system
    gives the memory lazily, block by block, as tokens are stored.
    Layer i of a model that shares caches between layers has those of layer owners[i], the same arrays.
    Raises ConfigError for an unknown dtype, CapacityError when the memory is refused.
    """

    def __init__(
        self,
        num_layers: int,
        num_blocks: int,
        block_size: int,
        num_kv_heads: int,
        head_dim: int,
        dtype: str,
        owners: Sequence[int] | None = None,
    ) -> None:
        owners = range(num_layers) if owners is None else owners
        assert len(owners) == num_layers, f"{num_layers = } {owners = }"
        self.num_layers = num_layers
        self.num_blocks = num_blocks
        self.block_size = block_size
        self.dtype = dtype
        sizes = (num_blocks, num_kv_heads, block_size, head_dim)
        assert min(num_layers, *sizes) > 0, f"{num_layers = } {sizes = }"
        k_shape, v_shape = cache_shapes(dtype, *sizes)
        stored = {layer: (_zeros(k_shape, dtype), _zeros(v_shape, dtype)) for layer in sorted(set(owners))}
        self.k = [stored[owner][0] for owner in owners]
        self.v = [stored[owner][1] for owner in owners]
        self._stored = [cache for pair in stored.values() for cache in pair]

    @property
    def nbytes(self) -> int:
        return sum(int(cache.nbytes) for cache in self._stored)

    def copy(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Copy block src to block dst in every layer, for each (src, dst) in order (copy-on-write)."""
        for source, target in pairs:
            for cache in self._stored:
                cache[target] = cache[source]


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
