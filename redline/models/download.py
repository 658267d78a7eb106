"""Downloads that survive an interruption, and files that appear whole or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from redline.errors import DownloadError

if TYPE_CHECKING:
    import ssl

    import httpx

Progress = Callable[[int, int], None]  # bytes done, bytes in all
ATTEMPTS = 4  # each one resumes where the one before broke off
TIMEOUT_S = 30.0


def download(url: str, part: Path, progress: Progress) -> None:
    """Fetch `url` to the file `part`, going on from what is there already.

    Raises DownloadError when the server refuses, or keeps breaking off; what arrived is kept.
    """
    import httpx

    with httpx.Client(follow_redirects=True, timeout=TIMEOUT_S, verify=_certificates()) as client:
        for attempt in range(ATTEMPTS):
            try:
                _fetch(client, url, part, progress)
                return
            except httpx.TransportError as error:
                failure = error
            except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
                raise DownloadError(f"fetching {url} failed: {error}") from error
            time.sleep(0.5 * attempt)
    raise DownloadError(
        f"fetching {url} broke off {ATTEMPTS} times ({failure or type(failure).__name__}); "
        f"{_size(part)} bytes are kept, pull again to go on"
    ) from failure


def _fetch(client: httpx.Client, url: str, part: Path, progress: Progress) -> None:
    done = _size(part)
    # Compressed transfer would make byte positions those of another file.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
    with client.stream("GET", url, headers=headers) as response:
        if response.status_code == 416:  # nothing is left, or too much is there: the hash will tell
            return
        response.raise_for_status()
        if response.status_code != 206:
            done = 0
        total = done + int(response.headers.get("Content-Length", 0))
        _check_space(part, total - done)
        with part.open("ab" if done else "wb") as file:
            for chunk in response.iter_raw():  # as it arrives: what waits in a buffer is lost on a break
                file.write(chunk)
                done += len(chunk)
                progress(done, max(done, total))


def _check_space(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise DownloadError(f"{part.parent} has {free} bytes free, the download needs {needed}; make room")


def _certificates() -> ssl.SSLContext:
    """The system's certificates, which may hold a company's own, and the usual ones where it has none."""
    import ssl

    import certifi

    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def whole_file(target: Path) -> Iterator[BinaryIO]:
    """A file to write that takes the name `target` when the block ends well, and is gone when it does not."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Only one process at a time is inside, for a given `path`; the others wait. A dead process lets go."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
