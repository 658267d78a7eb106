"""StoreTier: the paged cache on one side, stores of blocks on the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from redline.cache.block_store import BlockStore
from redline.cache.paged import PagedKV
from redline.ops.arrays import Array


class StoreTier:
    """Slower memory as core/offload.py asks for it: for each layer group, stores from the fastest on.

    What leaves the cache is saved in all of them, what stays in those that outlive the process.
    """

    def __init__(
        self, kv: PagedKV, host: Sequence[Sequence[BlockStore]], disk: Sequence[Sequence[BlockStore]]
    ) -> None:
        self._stores = [[*first, *second] for first, second in zip(host, disk, strict=True)]
        self._lasting = [list(each) for each in disk]
        self._caches = [[cache.view(np.uint8) for cache in kv.caches(group)] for group in range(len(host))]

    def holds(self, group: int, key: bytes) -> bool:
        return any(key in store for store in self._stores[group])

    def spill(self, group: int, key: bytes, block: int) -> None:
        for store in self._stores[group]:
            store.save(key, self._parts(group, block))

    def persist(self, group: int, key: bytes, block: int) -> None:
        for store in self._lasting[group]:
            if key not in store:
                store.save(key, self._parts(group, block))

    def load(self, group: int, key: bytes, block: int) -> bool:
        """Fill a block of the cache. False: no store has it any more, or not as it was saved."""
        parts = self._parts(group, block)
        return any(store.load(key, parts) for store in self._stores[group] if key in store)

    def flush(self) -> None:
        """Return when all that was saved is in the stores or dropped."""
        for stores in self._stores:
            for store in stores:
                store.flush()

    def close(self) -> None:
        """Flush, and let go of files and threads."""
        for stores in self._stores:
            for store in stores:
                store.close()

    def _parts(self, group: int, block: int) -> list[Array]:
        return [cache[block] for cache in self._caches[group]]
