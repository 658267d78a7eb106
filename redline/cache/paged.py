"""PagedKV: keys and values of all layers in blocks of tokens (Kwon et al., PagedAttention, 2023)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import ml_dtypes  # noqa: F401 - tells NumPy the names of bfloat16 and of fp8
import numpy as np
import numpy.typing as npt

from redline.errors import CapacityError, ConfigError
from redline.ops.kv_store.layout import DTYPES, cache_shapes


class PagedKV:
    """`k[layer]` and `v[layer]` are the caches of a layer, as ops/kv_store/layout.py describes them.

    The first axis is blocks, and a block has nothing anywhere else: not even its scales. The system gives the
    memory lazily, block by block, as tokens are stored. Raises ConfigError for an unknown dtype or one that
    the heads do not fit, CapacityError when the memory is refused.
    """

    def __init__(
        self, num_layers: int, num_blocks: int, block_size: int, num_kv_heads: int, head_dim: int, dtype: str
    ) -> None:
        self.num_layers = num_layers
        self.num_blocks = num_blocks
        self.block_size = block_size
        self.dtype = dtype
        sizes = (num_blocks, num_kv_heads, block_size, head_dim)
        assert min(num_layers, *sizes) > 0, f"{num_layers = } {sizes = }"
        k_shape, v_shape = cache_shapes(dtype, *sizes)
        self.k = [_zeros(k_shape, dtype) for _ in range(num_layers)]
        self.v = [_zeros(v_shape, dtype) for _ in range(num_layers)]

    @property
    def nbytes(self) -> int:
        return 2 * self.num_layers * int(self.k[0].nbytes)

    def copy(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Copy block src to block dst in every layer, for each (src, dst) in order (copy-on-write)."""
        for source, target in pairs:
            for cache in (*self.k, *self.v):
                cache[target] = cache[source]


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
