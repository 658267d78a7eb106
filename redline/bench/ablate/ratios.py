"""How many times as good, and how sure that is."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ratio:
    """The median of paired ratios, and the smallest and the largest of them.

    Runs alternate, so a pair saw the same machine. Of n independent pairs the true median lies outside their
    range with probability 2 ** (1 - n), whatever their distribution: `coverage` is the rest.
    """

    median: float
    low: float
    high: float
    coverage: float

    @classmethod
    def of(cls, on: Sequence[float], off: Sequence[float], *, higher_is_better: bool) -> Ratio:
        """How many times as good `on` is as `off`."""
        assert on and len(on) == len(off), f"{len(on) = } {len(off) = }"
        pairs = zip(on, off, strict=True)
        ratios = [mine / other if higher_is_better else other / mine for mine, other in pairs]
        return cls(statistics.median(ratios), min(ratios), max(ratios), 1.0 - 2.0 ** (1 - len(ratios)))
