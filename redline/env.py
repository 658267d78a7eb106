"""Every environment variable Redline reads: typed, read when asked for, a bad value raises."""

from __future__ import annotations

import os
from pathlib import Path

from redline.errors import ConfigError


def cache_dir() -> Path:
    """Where pulled models live: REDLINE_CACHE, else XDG_CACHE_HOME/redline, else ~/.cache/redline.

    Raises ConfigError when the home directory that it needs is unknown.
    """
    explicit = os.environ.get("REDLINE_CACHE")
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        if explicit:
            return Path(explicit).expanduser()
        return (Path(base) if base else Path.home() / ".cache") / "redline"
    except RuntimeError as error:
        given = f"REDLINE_CACHE is {explicit[:200]!r}" if explicit else "HOME is not set"
        raise ConfigError(f"{given}: no such home directory; set REDLINE_CACHE to a full path") from error


def num_threads() -> int | None:
    """REDLINE_THREADS: how many threads the kernels use; None when unset (then: all cores)."""
    value = os.environ.get("REDLINE_THREADS")
    if not value:
        return None
    if not value.isdecimal() or len(value) > 4 or not 1 <= int(value) <= 1024:
        raise ConfigError(f"REDLINE_THREADS is {value[:40]!r}; it must be an integer between 1 and 1024")
    return int(value)


ISAS = ("scalar", "avx2", "avx512", "amx")


def isa() -> str | None:
    """REDLINE_ISA: the instruction set that the kernels are held to; None when unset (then: the widest)."""
    value = os.environ.get("REDLINE_ISA")
    if not value:
        return None
    if value not in ISAS:
        raise ConfigError(f"REDLINE_ISA is {value[:40]!r}; it must be one of {', '.join(ISAS)}")
    return value
