"""Virtual environments for peers: made on first use, kept in the cache directory, complete or not there."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from redline import env
from redline.bench.peers.registry import Peer

Tell = Callable[[str], None]
MARK = "complete"  # written last


class PeerFailed(Exception):
    """A peer cannot be installed or does not answer. The message is the reason that the table shows."""


def environment_python(peer: Peer, isa: str, tell: Tell) -> Path:
    """The Python of the peer's environment, which is made first if it is not there. Raises PeerFailed.

    `tell` hears what is going on, a line at a time.
    """
    root = env.cache_dir() / "peers"
    directory = root / peer.directory(isa)
    python = directory / "bin" / "python"
    root.mkdir(parents=True, exist_ok=True)
    with _alone(root / f"{directory.name}.lock", tell, directory.name):
        if not (directory / MARK).exists():
            shutil.rmtree(directory, ignore_errors=True)
            _install(peer, isa, directory, tell)
            (directory / MARK).touch()
    return python


def _install(peer: Peer, isa: str, directory: Path, tell: Tell) -> None:
    log = directory.with_suffix(directory.suffix + ".log")
    log.write_bytes(b"")
    commands = [[sys.executable, "-m", "venv", str(directory)]]
    commands += [[str(directory / "bin" / "python"), "-m", "pip", *args] for args in peer.pip]
    variables = {**os.environ, "CMAKE_ARGS": peer.build[isa]} if peer.build else dict(os.environ)
    for command in commands:
        _run(command, variables, log, lambda line: tell(f"installing {directory.name}: {line}"))


def _run(command: list[str], variables: dict[str, str], log: Path, tell: Tell) -> None:
    tell(" ".join(command[1:]))
    with (
        log.open("a") as file,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=variables,
            errors="replace",
        ) as process,
    ):
        assert process.stdout is not None
        last = ""
        for line in process.stdout:
            file.write(line)
            last = line.strip() or last
            tell(last)
    if process.returncode:
        raise PeerFailed(f"could not be installed: {last or f'exit code {process.returncode}'} (see {log})")


@contextmanager
def _alone(lock: Path, tell: Tell, name: str) -> Iterator[None]:
    """Two commands must not fill one environment."""
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell(f"waiting for another process that installs {name}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
