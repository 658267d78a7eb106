"""CpuUse: how busy a process and the machine were between two moments."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from redline.errors import ConfigError


@dataclass(frozen=True, slots=True)
class CpuUse:
    """Cores that the server's process used on average, and the share of all cores that were busy."""

    server_cores: float | None
    machine_share: float | None


class CpuMeter:
    """Reads /proc at `start` and `stop`. `pid`: of the server; None: it is not known, or elsewhere."""

    def __init__(self, pid: int | None) -> None:
        self._pid = pid

    def check(self) -> None:
        """Raises ConfigError when there is no such process."""
        if self._pid is not None and _process_s(self._pid) is None:
            raise ConfigError(f"--server-pid is {self._pid}; there is no such process on this machine")

    def start(self) -> None:
        self._before = (time.perf_counter(), self._server_s(), _machine_s())

    def stop(self) -> CpuUse:
        """Since `start`."""
        at_s, server_s, machine = self._before
        span_s = max(time.perf_counter() - at_s, 1e-9)
        server, now = self._server_s(), _machine_s()
        cores = None if server is None or server_s is None else (server - server_s) / span_s
        share = None
        if now is not None and machine is not None and now[1] > machine[1]:
            share = (now[0] - machine[0]) / (now[1] - machine[1])
        return CpuUse(cores, share)

    def _server_s(self) -> float | None:
        return None if self._pid is None else _process_s(self._pid)


def _process_s(pid: int) -> float | None:
    """Processor time of a process and of its ended children."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may hold anything
    return sum(int(ticks) for ticks in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def _machine_s() -> tuple[float, float] | None:
    """Busy and all ticks of all cores."""
    try:
        words = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    except OSError:
        return None
    ticks = [int(word) for word in words[1:9]]  # user ... steal; guests are in user already
    idle = ticks[3] + ticks[4]
    return float(sum(ticks) - idle), float(sum(ticks))
