"""Where the float32 results of ops lie: in NumPy's memory, or in that of the graph that this thread records.

A recorded graph (csrc/graph.h) is the calls of a forward pass on fixed addresses. `record` makes each op that
runs under it part of the graph; what is computed in any other way is not, and would be stale in a replay.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from redline.ops.arrays import F32


class _Thread(threading.local):
    graph: Any = None  # of redline._kernels.Graph


_thread = _Thread()


def new_array(shape: tuple[int, ...]) -> F32:
    """A float32 array for the result of an op; its values are not set."""
    graph = _thread.graph
    if graph is None:
        return np.empty(shape, np.float32)
    # As large as for the next power of two of rows, so that batches of similar size find the same blocks in
    # the arena, in whatever order they come. Exact sizes, growing one by one, would each leave one behind.
    array: F32 = graph.empty((padded_rows(shape[0]), *shape[1:]))[: shape[0]]
    return array


def padded_rows(num_rows: int) -> int:
    """The next power of two."""
    return 1 << (num_rows - 1).bit_length()


@contextmanager
def record(graph: Any) -> Iterator[None]:
    """Add the ops that this thread runs to a `_kernels.Graph`."""
    assert _thread.graph is None, "a graph is being recorded already"
    _thread.graph = graph
    graph.begin()
    try:
        yield
    finally:
        graph.end()
        _thread.graph = None
