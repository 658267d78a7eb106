"""Hardware is measured once per machine: the result is kept, with what it was measured on."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import redline
from redline.bench.environment import environment
from redline.bench.hardware.caches import Cache
from redline.bench.hardware.hardware import Hardware, Reading


def identity(threads: int) -> dict[str, Any]:
    """What must be the same for a measurement to hold."""
    where = environment()
    return {
        "redline": redline.__version__,
        "cpu": where.cpu,
        "num_cores": where.num_cores,
        "memory_bytes": where.memory_bytes,
        "kernel": platform.release(),
        "threads": threads,
    }


def load(path: Path, threads: int) -> Hardware | None:
    """What was saved of this machine; None: nothing, something damaged, or of another machine."""
    try:
        kept = json.loads(path.read_text())
        if kept["identity"] != identity(threads):
            return None
        fields = kept["hardware"]
        fields["caches"] = tuple(Cache(**each) for each in fields["caches"])
        fields["readings"] = tuple(Reading(**each) for each in fields["readings"])
        return Hardware(**fields)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def save(path: Path, hardware: Hardware) -> None:
    """Raises OSError. A reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(
        json.dumps({"identity": identity(hardware.threads), "hardware": asdict(hardware)}, indent=1)
    )
    fresh.replace(path)
