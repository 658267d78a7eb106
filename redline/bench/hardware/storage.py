"""How fast files come from the disk: what a cold start and the disk tier of the K/V cache wait for."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

FILE_BYTES = 2**28
PIECE_BYTES = 2**23


def disk_read_bytes_s(folder: Path, num_bytes: int = FILE_BYTES) -> float | None:
    """Bytes per second of a new file in `folder` that the system was told to forget; None: there is no room.

    A system that forgets nothing shows the speed of its memory.
    """
    if not hasattr(os, "posix_fadvise"):
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix="hardware-") as file:
            piece = os.urandom(PIECE_BYTES)  # some file systems store zeros, or repeats, as nothing
            for number in range(num_bytes // PIECE_BYTES):
                file.write(number.to_bytes(8, "little") + piece[8:])
            file.flush()
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            return _read_bytes_s(file.fileno())
    except OSError:
        return None


def _read_bytes_s(descriptor: int) -> float:
    buffer = bytearray(PIECE_BYTES)
    total = 0
    start_s = time.perf_counter()
    while count := os.preadv(descriptor, [buffer], total):
        total += count
    return total / (time.perf_counter() - start_s)
