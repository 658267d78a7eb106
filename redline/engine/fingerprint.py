"""fingerprint(): what keys and values depend on besides the tokens, as one hash."""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path

SAMPLE_BYTES = 4096
NUM_SAMPLES = 256


def fingerprint(model: Path, settings: dict[str, object]) -> bytes:
    """32 bytes that change when the model's files, the compiled kernels or one of the settings do.

    A file counts with its name, size, time of change and samples all over it: to read all of a large model
    would cost more than what is saved by this.
    """
    from redline import _kernels

    digest = blake2b(digest_size=32, person=b"redline-kv")
    kernels = os.stat(_kernels.__file__)
    for name, value in {**settings, "version": version("redline")}.items():
        digest.update(f"{name}={value!r}\n".encode())
    digest.update(f"kernels={kernels.st_size} {kernels.st_mtime_ns}\n".encode())
    for path in sorted(model.iterdir()) if model.is_dir() else [model]:
        if path.is_file():
            for part in _parts(path):
                digest.update(part)
    return digest.digest()


def _parts(path: Path) -> Iterator[bytes]:
    status = path.stat()
    yield f"{path.name} {status.st_size} {status.st_mtime_ns}\n".encode()
    with path.open("rb") as file:
        for start in range(0, status.st_size, max(SAMPLE_BYTES, status.st_size // NUM_SAMPLES)):
            file.seek(start)
            yield file.read(SAMPLE_BYTES)
