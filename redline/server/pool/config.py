"""PoolConfig: how many models are in memory at once, and for how long."""

from __future__ import annotations

import math
from dataclasses import dataclass

from redline.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolConfig:
    """Sizes in bytes, times in seconds; None switches off. Raises ConfigError for a value out of range."""

    memory_bytes: int  # that the loaded models may take together
    max_loaded: int | None = None  # models in memory at once
    residency_s: float = 5.0  # that a model in use stays while others wait for its place
    idle_unload_s: float | None = None  # after which a model that nobody uses is unloaded

    def __post_init__(self) -> None:
        if self.memory_bytes < 1:
            raise ConfigError(f"memory_bytes is {self.memory_bytes}; it must be at least 1")
        if self.max_loaded is not None and self.max_loaded < 1:
            raise ConfigError(f"max_loaded is {self.max_loaded}; it must be at least 1, or None")
        for name in ("residency_s", "idle_unload_s"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise ConfigError(f"{name} is {value!r}; it must be a number of seconds, at least 0")
