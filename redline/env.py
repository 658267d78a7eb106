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


def api_keys() -> tuple[str, ...]:
    """REDLINE_API_KEY: a key that the server accepts; () when unset."""
    value = os.environ.get("REDLINE_API_KEY")
    return (value,) if value else ()


def otlp_endpoint_is_set() -> bool:
    """OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT: where the SDK sends traces."""
    names = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    return any(os.environ.get(name) for name in names)


def otel_disabled() -> bool:
    """OTEL_SDK_DISABLED is true, or OTEL_TRACES_EXPORTER is none: no traces, whatever else is set."""
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return disabled or os.environ.get("OTEL_TRACES_EXPORTER", "").lower() == "none"


def otlp_traces_protocol() -> str:
    """OTEL_EXPORTER_OTLP_TRACES_PROTOCOL, else OTEL_EXPORTER_OTLP_PROTOCOL, else http/protobuf."""
    names = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    return next((value for name in names if (value := os.environ.get(name))), "http/protobuf")


def otel_service_name() -> str | None:
    """OTEL_SERVICE_NAME, which the SDK reads too, or that of OTEL_RESOURCE_ATTRIBUTES; None: unset."""
    attributes = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    named = next((each for each in attributes.split(",") if each.strip().startswith("service.name=")), None)
    return os.environ.get("OTEL_SERVICE_NAME") or named


ISAS = ("scalar", "avx2", "avx512", "amx")


def isa() -> str | None:
    """REDLINE_ISA: the instruction set that the kernels are held to; None when unset (then: the widest)."""
    value = os.environ.get("REDLINE_ISA")
    if not value:
        return None
    if value not in ISAS:
        raise ConfigError(f"REDLINE_ISA is {value[:40]!r}; it must be one of {', '.join(ISAS)}")
    return value


def api_key_in(name: str) -> str | None:
    """The key that the variable `name` holds for somebody else's server; None when empty or unset."""
    return os.environ.get(name) or None
