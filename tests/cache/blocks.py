"""Blocks for the tests of stores: number n has a key and bytes of its own, and comes in six parts."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np

from redline.cache.block_store import BlockStore
from redline.cache.disk_store import DiskStore

PART_BYTES = 128
BLOCK_BYTES = 6 * PART_BYTES
FINGERPRINT = b"a model"


def key_of(n: int) -> bytes:
    return hashlib.blake2b(b"%d" % n, digest_size=16).digest()


def bytes_of(n: int, num_bytes: int = BLOCK_BYTES) -> bytes:
    return np.random.default_rng(n).bytes(num_bytes)


def parts_of(data: bytes) -> list[np.ndarray]:
    """Writable arrays of two shapes, as keys and values are."""
    size = len(data) // 6
    pieces = [np.frombuffer(data[i * size : (i + 1) * size], np.float16).copy() for i in range(6)]
    return [piece.reshape((2, -1, 4) if i % 2 else (2, 4, -1)) for i, piece in enumerate(pieces)]


def save(store: BlockStore, *numbers: int, num_bytes: int = BLOCK_BYTES) -> None:
    for n in numbers:
        store.save(key_of(n), parts_of(bytes_of(n, num_bytes)))


def load(store: BlockStore, n: int, num_bytes: int = BLOCK_BYTES) -> bytes | None:
    parts = parts_of(bytes(num_bytes))
    return b"".join(parts) if store.load(key_of(n), parts) else None


def assert_holds(store: BlockStore, *numbers: int) -> None:
    """That each is found and loads as it was saved. Marks them used."""
    for n in numbers:
        assert key_of(n) in store, n
        assert load(store, n) == bytes_of(n), n


def open_store(
    folder: Path,
    warnings: list[str],
    *,
    fingerprint: bytes = FINGERPRINT,
    block_bytes: int = BLOCK_BYTES,
    capacity_bytes: int = 2**20,
) -> DiskStore:
    return DiskStore(folder, fingerprint, block_bytes, capacity_bytes, warnings.append)


def start_child(code: str, *arguments: object) -> subprocess.Popen[str]:
    """A Python process that runs `code` after the imports it needs; it talks over its standard streams."""
    before = "import os, resource, sys\nfrom pathlib import Path\nfrom tests.cache.blocks import *\n"
    return subprocess.Popen(
        [sys.executable, "-c", before + code, *map(str, arguments)],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
