"""When requests come: as users who wait for their answers (closed), or at times of their own (open)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from redline.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Closed:
    """`concurrency` users; each starts its next session when its last one has ended."""

    concurrency: int

    def __post_init__(self) -> None:
        if not 1 <= self.concurrency <= 65536:
            raise ConfigError(f"--concurrency is {self.concurrency}; it must lie between 1 and 65536")

    def describe(self) -> str:
        return f"closed loop, {self.concurrency} at once"


@dataclass(frozen=True, slots=True)
class Open:
    """Sessions start at `times_s` after the first, whatever has become of the others."""

    times_s: tuple[float, ...]
    how: str

    def describe(self) -> str:
        return self.how


def gamma(count: int, rate: float, burstiness: float = 1.0, seed: int = 0) -> Open:
    """`count` sessions at `rate` per second, the time between them gamma distributed.

    `burstiness` is its shape, as in vLLM: 1 is Poisson, less comes in bursts, more is more even. Raises
    ConfigError.
    """
    if not 0 < rate < float("inf"):
        raise ConfigError(f"--rate is {rate:g}; it must be sessions per second, above 0")
    if not 0 < burstiness < float("inf"):
        raise ConfigError(f"--burstiness is {burstiness:g}; it must be above 0 (1: Poisson)")
    draw = random.Random(f"arrivals/{seed}")
    times, at_s = [], 0.0
    for _ in range(count):
        times.append(at_s)
        at_s += draw.gammavariate(burstiness, 1 / (rate * burstiness))
    how = "Poisson" if burstiness == 1 else f"gamma (burstiness {burstiness:g})"
    return Open(tuple(times), f"{how} arrivals, {rate:g} per second")


def replayed(times_s: Sequence[float], speed: float, source: str) -> Open:
    """The times of a trace, `speed` times as fast."""
    if not 0 < speed < float("inf"):
        raise ConfigError(f"--trace-speed is {speed:g}; it must be above 0")
    times = tuple(at_s / speed for at_s in times_s)
    return Open(times, f"arrivals of {source}" + ("" if speed == 1 else f" at {speed:g} times their speed"))


Arrivals = Closed | Open
