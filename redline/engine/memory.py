"""What memory there is: of the machine, of this process, within the limits of its control group."""

from __future__ import annotations

import os
from pathlib import Path

from redline.config.resolve import Hardware

CGROUP = Path("/sys/fs/cgroup")


def hardware() -> Hardware:
    """Cores this process may use and bytes it may still take."""
    return Hardware(num_cores=num_cores(), free_bytes=free_bytes())


def num_cores(quota: Path = CGROUP / "cpu.max") -> int:
    """Cores of the affinity mask, or of the control group's quota when that is less."""
    cores = len(os.sched_getaffinity(0))
    try:
        share, period = quota.read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if share == "max" else max(1, min(cores, -(-int(share) // int(period))))


def free_bytes(cgroup: Path = CGROUP) -> int:
    """MemAvailable, or what the control group leaves when that is less.

    Cached file pages count as used there, but give way when memory is asked for: those of a model file that
    was just read, above all.
    """
    limits = [_kib_of(Path("/proc/meminfo"), "MemAvailable")]
    for folder, limit, usage, cached in (
        (cgroup, "memory.max", "memory.current", "inactive_file"),
        (cgroup / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        most, used = _number(folder / limit), _number(folder / usage)
        if most is not None and used is not None:
            limits.append(max(most - used + _statistic(folder / "memory.stat", cached), 0))
    return min(limits)


def rss_bytes() -> int:
    """Physical memory that this process holds, mapped pages of files included."""
    return _kib_of(Path("/proc/self/status"), "VmRSS")


def peak_rss_bytes() -> int:
    """The most physical memory this process has held so far."""
    return _kib_of(Path("/proc/self/status"), "VmHWM")


def _kib_of(path: Path, key: str) -> int:
    """Bytes of a line such as "VmRSS:  1234 kB"; 0 where there is none."""
    for line in path.read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    return 0


def _statistic(path: Path, key: str) -> int:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.split()[0] == key), 0)


def _number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None
