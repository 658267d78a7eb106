"""What the system keeps of a file in memory: forget it, and see whether it did."""

from __future__ import annotations

import os
from pathlib import Path

STEP_BYTES = 2**20  # one byte in so many is asked for


def forget(path: Path) -> None:
    """Tell the system to drop a file from memory. It keeps what another process has mapped."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def cached_share(path: Path) -> float | None:
    """How much of a file can be read without waiting for the disk; None where the system does not tell."""
    if not hasattr(os, "RWF_NOWAIT"):
        return None
    size, byte = path.stat().st_size, bytearray(1)
    places = range(0, size, STEP_BYTES)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return sum(_at_hand(descriptor, byte, place) for place in places) / max(1, len(places))
    except OSError:  # a file system that cannot say
        return None
    finally:
        os.close(descriptor)


def _at_hand(descriptor: int, byte: bytearray, place: int) -> bool:
    try:
        return os.preadv(descriptor, [byte], place, os.RWF_NOWAIT) == 1
    except BlockingIOError:
        return False
