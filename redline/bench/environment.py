"""Where a number was measured: commit, machine, software. Printed with every number."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import redline


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What a reader needs to judge or repeat a measurement."""

    redline: str
    commit: str | None  # None outside a git checkout; "-dirty" when files differ from it
    cpu: str
    num_cores: int
    memory_bytes: int
    system: str
    python: str
    numpy: str


def environment() -> Environment:
    """The environment of this process."""
    return Environment(
        redline=redline.__version__,
        commit=_commit(Path(redline.__file__).parent.parent),
        cpu=_cpu(),
        num_cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        numpy=np.__version__,
    )


def _commit(root: Path) -> str | None:
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
