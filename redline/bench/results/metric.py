"""Metric: a number that a benchmark measures once per run, and how to write it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from redline.bench.results.interval import Center, Interval

Better = Literal["higher", "lower", "neither"]


@dataclass(frozen=True, slots=True)
class Metric:
    """`unit`: "s", "tok/s", "req/s", "MiB", "x" or "%" (whose values are shares of 1).

    `quotes`: what tables show of several runs.
    """

    title: str
    unit: str
    better: Better
    quotes: Center = "mean"

    def measured(self, values: Sequence[float]) -> dict[str, Any]:
        """For a report: one value per run, and what they say together."""
        interval = Interval.of(values, self.quotes)
        return {
            "title": self.title,
            "unit": self.unit,
            "better": self.better,
            "values": list(values),
            "quotes": self.quotes,
            self.quotes: interval.center,
            "low": interval.low,
            "high": interval.high,
        }


def quoted(measured: Mapping[str, Any]) -> float:
    """The number that stands for all runs. Reports of before there was a choice have means."""
    value: float = measured[measured.get("quotes", "mean")]
    return value


def value_text(value: float, unit: str) -> str:
    """With three digits: 12.3 ms, 1.23 s, 456 tok/s."""
    if unit == "s":
        return f"{_digits(value)} s" if abs(value) >= 1 else f"{_digits(value * 1e3)} ms"
    if unit == "%":
        return f"{value:.1%}"
    return f"{_digits(value)} {unit}"


def spread_text(measured: Mapping[str, Any]) -> str:
    """Half of the interval's width, in per cent of the number; in points for shares."""
    if measured["high"] is None:
        return "one run"
    center = quoted(measured)
    half = measured["high"] - center
    if measured["unit"] == "%":
        return f"+- {100 * half:.1f} points"
    share = half / abs(center) if center else 2.0 * (half > 0)
    return "+- >100%" if share > 1 else f"+- {share:.1%}"


def _digits(value: float) -> str:
    if value == 0:
        return "0"
    for limit, places in ((100, 0), (10, 1), (1, 2)):
        if abs(value) >= limit:
            return f"{value:.{places}f}"
    return f"{value:.3g}"
