"""ServerConfig: where the server listens and what it refuses."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from redline.errors import ConfigError

MAX_PORT = 65535


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerConfig:
    """Limits of one HTTP server. Sizes in bytes, times in seconds.

    Raises ConfigError when a value is out of range.
    """

    host: str = "127.0.0.1"
    port: int = 8000  # 0: a free port
    aliases: tuple[str, ...] = ()  # names the model answers to besides its own
    max_waiting: int = 256  # prompts without a first token; the next one gets 429
    max_choices: int = 128  # prompts times n of one request
    max_body_bytes: int = 4 * 2**20
    max_header_bytes: int = 32 * 2**10
    max_headers: int = 100
    header_timeout_s: float = 10.0
    body_timeout_s: float = 30.0
    keep_alive_s: float = 60.0
    drain_timeout_s: float = 30.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.startswith("max_") and (not _is_integer(value) or value < 1):
                raise ConfigError(f"{field.name} is {value!r}; it must be an integer of at least 1")
            if field.name.endswith("_s") and not _is_duration(value):
                raise ConfigError(f"{field.name} is {value!r}; it must be a number of seconds, at least 0")
        if not _is_integer(self.port) or not 0 <= self.port <= MAX_PORT:
            raise ConfigError(f"port is {self.port!r}; it must be an integer between 0 and {MAX_PORT}")


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_duration(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
