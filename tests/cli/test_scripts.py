"""scripts/install says what is missing, in one line, before it changes anything."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
TOOLS = ("sh", "cat", "cksum", "find", "sort", "readlink", "mkdir", "rm", "tail", "sleep", "dirname", "flock")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the scripts, in a path with a space, and of what they look at."""
    copy = tmp_path / "check out"
    shutil.copytree(ROOT / "scripts", copy / "scripts")
    (copy / "csrc").mkdir()
    for name in ("pyproject.toml", "CMakeLists.txt"):
        shutil.copy(ROOT / name, copy)
    return copy


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A directory for PATH that has the shell's tools, and neither compiler nor Python."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for name in TOOLS:
        found = shutil.which(name)
        if found:
            (directory / name).symlink_to(found)
    return directory


def install(checkout: Path, path: Path, *argv: str, cwd: str = "/") -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(path), "HOME": os.environ.get("HOME", "/")}
    command = [str(checkout / "scripts" / "install"), *argv]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd, timeout=60)


def test_no_compiler_is_said_in_one_line(checkout: Path, tools: Path) -> None:
    done = install(checkout, tools)
    assert done.returncode == 2
    assert done.stderr.startswith("redline: error: no C++ compiler") and done.stderr.count("\n") == 1


def test_no_python_is_said_in_one_line(checkout: Path, tools: Path) -> None:
    (tools / "c++").symlink_to("/bin/true")
    done = install(checkout, tools)
    assert done.returncode == 2
    assert done.stderr.startswith("redline: error: no Python 3.11 or newer") and done.stderr.count("\n") == 1


def test_an_old_python_is_not_taken(checkout: Path, tools: Path) -> None:
    (tools / "c++").symlink_to("/bin/true")
    old = tools / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")  # what 3.10 answers to the question for its version
    old.chmod(0o755)
    assert "no Python 3.11 or newer" in install(checkout, tools).stderr


def test_an_unknown_argument_is_refused(checkout: Path, tools: Path) -> None:
    done = install(checkout, tools, "everything")
    assert done.returncode == 2 and "not 'everything'" in done.stderr


def test_what_is_installed_is_not_installed_again_until_a_source_changes(checkout: Path, tools: Path) -> None:
    (checkout / "csrc" / "kernel.cpp").write_text("int one;\n")
    python = checkout / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    sources = f"cd '{checkout}'; cksum pyproject.toml CMakeLists.txt csrc/kernel.cpp; echo '{checkout}'"
    stamp = subprocess.run(["sh", "-c", sources], capture_output=True, text=True, check=True).stdout
    (checkout / ".venv" / "installed").write_text(stamp)
    assert install(checkout, tools).returncode == 0
    (checkout / "csrc" / "kernel.cpp").write_text("int two;\n")
    assert "no C++ compiler" in install(checkout, tools).stderr
