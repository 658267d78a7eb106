"""An axis of a plot: round numbers from 0 to a little above what is shown, and how they are written."""

from __future__ import annotations

import math
from collections.abc import Sequence

STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


def ticks(most: float, about: int) -> list[float]:
    """From 0 to the first at or above `most`, `about` of them, 1, 2, 2.5 or 5 times a power of ten apart."""
    least = max(most, 1e-9) / about
    power = 10.0 ** math.floor(math.log10(least))
    step = next(factor * power for factor in STEPS if factor * power >= least * (1 - 1e-9))
    return [place * step for place in range(math.ceil(most / step - 1e-9) + 1)]


def tick_texts(places: Sequence[float]) -> list[str]:
    """With as many decimals as tell them apart."""
    return [f"{place:,.10g}" for place in places]


def milliseconds(seconds: float) -> str:
    """Three digits, in ms."""
    value = seconds * 1e3
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"
