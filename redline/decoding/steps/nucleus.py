"""nucleus(): the fewest candidates that make up a share of the mass, taken in some order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from redline.ops.arrays import F32

FIRST_LOOK = (
    256  # candidates that are sorted before more are: mostly enough, and fifty times cheaper than all
)


def nucleus(order_K: F32, weight_K: F32, share: float) -> NDArray[np.int64]:
    """Ascending indices of the candidates of lowest `order` that have `share` of the mass; at least one.

    `order_K` is 0 or more; of equal order the lower index comes first.
    """
    enough = share * float(np.sum(weight_K, dtype=np.float64))
    num_sorted = FIRST_LOOK
    while True:
        first_N = _lowest(order_K, num_sorted)
        reached_N = np.cumsum(weight_K[first_N], dtype=np.float64)
        if reached_N[-1] >= enough or len(first_N) == len(order_K):
            break
        num_sorted *= 16
    count = int(np.searchsorted(reached_N, enough, side="left")) + 1
    return np.sort(first_N[:count])


def _lowest(order_K: F32, count: int) -> NDArray[np.int64]:
    """Indices of at least the `count` lowest, sorted; with one, all that equal it are there."""
    indices_N = np.arange(len(order_K))
    if count < len(order_K):
        indices_N = np.flatnonzero(order_K <= np.partition(order_K, count - 1)[count - 1])
    # Floats from 0 up compare like their bits. With the index below these, equal ones keep their order, and
    # sorting integers takes a tenth of the time of a stable argsort of floats.
    bits_N = (order_K[indices_N] + np.float32(0.0)).view(np.uint32).astype(np.uint64)  # + 0: no -0
    keys_N = np.sort(bits_N << np.uint64(32) | indices_N.astype(np.uint64))
    return (keys_N & np.uint64(2**32 - 1)).astype(np.int64)
