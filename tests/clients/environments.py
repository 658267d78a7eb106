"""Where clients live: a virtual environment or a folder of Node modules for each, made once and kept."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from redline.env import cache_dir

PROGRAMS = Path(__file__).with_name("programs")
INSTALL_TIMEOUT_S = 1800


class InstallError(Exception):
    """A client cannot be installed here."""


@dataclass(frozen=True)
class Environment(ABC):
    """What a client needs; the first package is the client itself."""

    requires: tuple[str, ...]

    def prepare(self, name: str, update: bool) -> Path:
        """The folder of client `name`, installed if that is not done yet. Raises InstallError."""
        folder = cache_dir() / "clients" / name
        folder.parent.mkdir(parents=True, exist_ok=True)
        mark = folder / "installed.json"
        with _locked(folder.with_suffix(".lock")):
            if update or not mark.exists() or json.loads(mark.read_text()) != list(self.requires):
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                self.install(folder)
                mark.write_text(json.dumps(self.requires))
        return folder

    @abstractmethod
    def install(self, folder: Path) -> None:
        """Fill the empty folder. Raises InstallError."""

    @abstractmethod
    def command(self, folder: Path, program: str) -> list[str]:
        """What runs a program of programs/."""

    @abstractmethod
    def version(self, folder: Path) -> str:
        """Of the client."""


class Python(Environment):
    """Packages of PyPI."""

    def install(self, folder: Path) -> None:
        _run([sys.executable, "-m", "venv", str(folder)])
        python = str(folder / "bin" / "python")
        _run([python, "-m", "pip", "install", "--quiet", "--prefer-binary", *self.requires])

    def command(self, folder: Path, program: str) -> list[str]:
        return [str(folder / "bin" / "python"), str(PROGRAMS / program)]

    def version(self, folder: Path) -> str:
        return _python_version(folder / "bin" / "python", self.requires[0])


class Node(Environment):
    """Packages of npm. Programs are copied beside them: that is where Node looks for modules."""

    def install(self, folder: Path) -> None:
        # With @latest, npm cannot take a name for that of a folder.
        packages = [f"{name}@latest" for name in self.requires]
        _run(["npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund", *packages])

    def command(self, folder: Path, program: str) -> list[str]:
        for path in PROGRAMS.glob("*.mjs"):
            shutil.copy(path, folder)
        return ["node", str(folder / program)]

    def version(self, folder: Path) -> str:
        package = folder / "node_modules" / self.requires[0] / "package.json"
        return str(json.loads(package.read_text())["version"])


class Development(Environment):
    """The environment that the tests run in, as it is."""

    def prepare(self, name: str, update: bool) -> Path:
        return Path(sys.prefix)

    def install(self, folder: Path) -> None:
        raise AssertionError("scripts/install does this")

    def command(self, folder: Path, program: str) -> list[str]:
        return [sys.executable, str(PROGRAMS / program)]

    def version(self, folder: Path) -> str:
        return _python_version(Path(sys.executable), self.requires[0])


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Of two runs at once, one installs and the other waits for it."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _python_version(python: Path, requirement: str) -> str:
    name = requirement.split("[")[0].split(">")[0]
    code = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"
    return _run([str(python), "-c", code, name]).strip()


def _run(command: list[str]) -> str:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, env=environment, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InstallError(str(error)) from error
    if done.returncode:
        raise InstallError(f"{Path(command[0]).name}: {' '.join(done.stderr.split())[-300:]}")
    return done.stdout
