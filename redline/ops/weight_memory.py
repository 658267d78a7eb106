"""Memory for packed weights: few large pieces, which the system can back with huge pages.

A decode step reads every weight once. With small pages it would miss the TLB, and lose its prefetches, every
4 KiB; NumPy asks for huge pages, but only for arrays of several MB, and most matrices are smaller.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from redline.ops.arrays import Array

LINE = 64
CHUNK = 16 << 20


class WeightMemory:
    """Hands out zeroed arrays cut from chunks. A chunk is freed with the last array that lies in it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._chunk = np.zeros(0, np.uint8)
        self._used = 0

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """A zeroed array that starts on a cache line, so that no vector load straddles two."""
        dtype = np.dtype(dtype)
        num_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        array: Array = self._take(num_bytes).view(dtype).reshape(shape)
        return array

    def _take(self, num_bytes: int) -> Array:
        if num_bytes > CHUNK // 4:
            return _from_line(np.zeros(num_bytes + LINE, np.uint8))[:num_bytes]
        with self._lock:
            if self._used + num_bytes > self._chunk.size:
                self._chunk, self._used = _from_line(np.zeros(CHUNK, np.uint8)), 0
            piece = self._chunk[self._used : self._used + num_bytes]
            self._used += -(-num_bytes // LINE) * LINE
        return piece


class PassingMemory:
    """Zeroed arrays, each on its own, for weights that are looked up once: in a chunk they would stay."""

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Array:
        dtype = np.dtype(dtype)
        num_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        array: Array = _from_line(np.zeros(num_bytes + LINE, np.uint8))[:num_bytes].view(dtype).reshape(shape)
        return array


def _from_line(memory: Array) -> Array:
    return memory[-memory.ctypes.data % LINE :]


weight_memory = WeightMemory()
passing_memory = PassingMemory()
