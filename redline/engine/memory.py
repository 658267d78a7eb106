"""What memory there is: of the machine, of this process, within the limits of its control group."""

from __future__ import annotations

import os
from pathlib import Path

from redline.config.resolve import Hardware


def hardware() -> Hardware:
    """Cores this process may use and bytes it may still take."""
    return Hardware(num_cores=len(os.sched_getaffinity(0)), free_bytes=free_bytes())


def free_bytes() -> int:
    """MemAvailable, or what the control group leaves when that is less."""
    limits = [_meminfo("MemAvailable")]
    for limit, usage in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        most, used = _number(Path(limit)), _number(Path(usage))
        if most is not None and used is not None:
            limits.append(max(most - used, 0))
    return min(limits)


def peak_rss_bytes() -> int:
    """The most physical memory this process has held so far."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _meminfo(key: str) -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    return 0


def _number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None
