"""Hardware: what this machine can do at most, measured. Everything else is a share of these numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Self

import numpy as np

from redline import _kernels, env
from redline.bench.ceiling import KINDS, best_seconds, multiply_adds, read_bandwidth
from redline.bench.hardware.caches import Cache, data_caches
from redline.bench.hardware.storage import disk_read_bytes_s
from redline.bench.hardware.wake_up import hand_over_s, process_wake_up_s
from redline.ops.threads import set_num_threads

SMALLEST, LARGEST = 2**14, 2**30  # bytes read again and again: what fits a first-level cache, and no cache
MEMORY_BYTES = 2**24  # from here on threads take turns in one buffer, as they do with weights
PASS_BYTES = 2**27  # that one time of a smaller one is taken of
REPEATS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How fast `threads` threads together read the same `num_bytes` again and again, in bytes per second."""

    num_bytes: int
    threads: int
    bytes_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """Rates per second, times in seconds. `macs`: multiply-adds of all threads by instruction set, kind."""

    threads: int
    isa: str  # the widest
    caches: tuple[Cache, ...]
    readings: tuple[Reading, ...]
    macs: dict[str, dict[str, float]]
    disk_read_bytes_s: float | None
    process_wake_up_s: float
    hand_over_s: float  # what one op pays for more threads than one

    @classmethod
    def measure(cls, threads: int, tell: Callable[[str], None]) -> Self:
        """Takes about half a minute. Leaves the kernels as they were, but for the threads."""
        readings = tuple(_readings(threads, tell))
        tell("multiplying")
        macs = _macs(threads)
        tell("reading from the disk")
        disk = disk_read_bytes_s(env.cache_dir())
        tell("waking threads and processes")
        return cls(
            threads=threads,
            isa=_kernels.isa(),
            caches=tuple(data_caches()),
            readings=readings,
            macs=macs,
            disk_read_bytes_s=disk,
            process_wake_up_s=process_wake_up_s(),
            hand_over_s=hand_over_s(threads),
        )

    def read_bytes_s(self, num_bytes: int) -> float:
        """Of the reading by all threads that is nearest to `num_bytes` from above, else the largest."""
        by_size = [each for each in self.readings if each.threads == self.threads]
        return next((each for each in by_size if each.num_bytes >= num_bytes), by_size[-1]).bytes_s


def _readings(threads: int, tell: Callable[[str], None]) -> Iterator[Reading]:
    buffer = np.ones(LARGEST, np.uint8)
    for count in sorted({1, threads}):
        size = SMALLEST * count
        while size <= LARGEST:
            tell(f"reading {size / 2**20:g} MiB again and again with {count} threads")
            rate = (
                read_bandwidth(count, num_bytes=size)
                if size >= MEMORY_BYTES
                else _reread(buffer, size, count)
            )
            yield Reading(num_bytes=size, threads=count, bytes_s=rate)
            size *= 4 if size * 4 <= LARGEST or size == LARGEST else LARGEST // size


def _reread(buffer: np.ndarray, num_bytes: int, threads: int) -> float:
    """Each thread reads its own part."""
    set_num_threads(threads)
    passes = PASS_BYTES // num_bytes
    work = partial(_kernels.peak_reread, buffer, num_bytes // threads, passes)
    return num_bytes * passes / best_seconds(work, REPEATS)


def _macs(threads: int) -> dict[str, dict[str, float]]:
    before, found = _kernels.isa(), {}
    try:
        for isa in env.ISAS:
            if _kernels.select_isa(isa):
                rates = {kind: multiply_adds(threads, kind) for kind in KINDS}
                found[isa] = {kind: rate for kind, rate in rates.items() if rate is not None}
    finally:
        _kernels.select_isa(before)
    return found
