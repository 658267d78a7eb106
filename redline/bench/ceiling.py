"""The ceiling of the machine: how fast its threads can read memory together."""

from __future__ import annotations

import threading
import time

import numpy as np
import numpy.typing as npt

BUFFER_BYTES = 256 * 2**20  # well beyond any last-level cache of a desktop or small server


def read_bandwidth(num_threads: int, *, num_bytes: int = BUFFER_BYTES, repeats: int = 5) -> float:
    """Bytes per second that `num_threads` threads read from memory: the best of `repeats` passes.

    Each thread reduces its own part of one buffer with a vectorised OR, whose arithmetic costs next to
    nothing; NumPy releases the GIL meanwhile.
    """
    buffer = np.ones(num_bytes // 8, dtype=np.int64)
    parts = np.array_split(buffer, num_threads)
    return buffer.nbytes / min(_pass_s(parts) for _ in range(repeats))


def _pass_s(parts: list[npt.NDArray[np.int64]]) -> float:
    threads = [threading.Thread(target=np.bitwise_or.reduce, args=(part,)) for part in parts]
    start_s = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start_s
