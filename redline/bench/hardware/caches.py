"""The data caches of a core, as Linux describes them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

CPU = Path("/sys/devices/system/cpu/cpu0/cache")
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """One level. `shared_by` is how many hardware threads use it."""

    level: int
    num_bytes: int
    shared_by: int


def data_caches(folder: Path = CPU) -> list[Cache]:
    """From the nearest on; empty where the system does not tell."""
    found = []
    for index in sorted(folder.glob("index*")):
        try:
            if (index / "type").read_text().strip() == "Instruction":
                continue
            found.append(
                Cache(
                    level=int((index / "level").read_text()),
                    num_bytes=_size((index / "size").read_text().strip()),
                    shared_by=_count((index / "shared_cpu_list").read_text().strip()),
                )
            )
        except (OSError, ValueError):
            continue
    return sorted(found, key=lambda cache: cache.level)


def _size(text: str) -> int:
    """From 48K and the like."""
    return int(text[:-1]) * UNITS[text[-1]] if text[-1] in UNITS else int(text)


def _count(cpus: str) -> int:
    """Of 0-3,8."""
    ranges = [part.split("-") for part in cpus.split(",")]
    return sum(int(each[-1]) - int(each[0]) + 1 for each in ranges)
