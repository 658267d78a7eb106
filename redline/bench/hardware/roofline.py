"""The roofline of a machine (Williams, Waterman, Patterson, CACM 2009): what memory and arithmetic allow.

A kernel that does `x` multiply-adds for each byte it reads reaches at most min(peak, x * bandwidth). Left of
the ridge, where both are equal, it waits for memory; right of it, for arithmetic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from redline.bench.hardware.hardware import Hardware

LEAST, MOST = 2.0**-2, 2.0**12  # multiply-adds per byte that a picture shows
KINDS = {
    "f32": "float32",
    "int8": "8-bit integers",
    "int8_tiles": "8-bit integers on tiles",
    "bf16_tiles": "bfloat16 on tiles",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Roof:
    """A bound: `bandwidth` in bytes per second, or `peak` in multiply-adds per second."""

    name: str
    bandwidth: float | None = None
    peak: float | None = None

    def at(self, intensity: float) -> float:
        """Multiply-adds per second."""
        return self.peak if self.peak is not None else (self.bandwidth or 0.0) * intensity


def roofs(hardware: Hardware) -> list[Roof]:
    """Memory first, from the slowest on, then arithmetic with the widest instruction set."""
    smallest = min(hardware.readings, key=lambda each: (each.threads != hardware.threads, each.num_bytes))
    memory = [
        Roof(name="memory", bandwidth=hardware.read_bytes_s(2**62)),
        Roof(name="first-level caches", bandwidth=smallest.bytes_s),
    ]
    rates = hardware.macs[hardware.isa]
    peaks = [
        Roof(name=KINDS[kind], peak=rate) for kind, rate in sorted(rates.items(), key=lambda each: each[1])
    ]
    return [*memory, *peaks]


class LogScale:
    """Places of numbers on an axis of powers."""

    def __init__(self, least: float, most: float, start: float, end: float) -> None:
        self.least, self.most = least, most
        self._start = start
        self._per_step = (end - start) / math.log2(most / least)

    def __call__(self, value: float) -> float:
        return self._start + math.log2(value / self.least) * self._per_step

    def powers(self, base: int) -> list[float]:
        """All powers of `base` on the axis."""
        first, last = math.log(self.least, base), math.log(self.most, base)
        return [float(base) ** place for place in range(math.ceil(first - 1e-9), math.floor(last + 1e-9) + 1)]


def rates_shown(shown: list[Roof]) -> tuple[float, float]:
    """The least and the most multiply-adds per second of a picture."""
    least = min(roof.at(LEAST) for roof in shown)
    return least, 1.5 * max(roof.peak for roof in shown if roof.peak is not None)


def rate(value: float) -> str:
    """2.5 G, 100 G, 1 T."""
    return f"{value / 1e12:.3g} T" if value >= 1e12 else f"{value / 1e9:.3g} G"
