"""Distribution: counts of values by upper bound, cheap enough for one value a token."""

from __future__ import annotations

from bisect import bisect_left


class Distribution:
    """One thread adds; others may read, and then see a value more in one place than in another at worst."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)  # the last one: above all bounds
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count a value with the first bound that is not below it."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def added(self, other: Distribution) -> Distribution:
        """The values of both, which have the same bounds."""
        assert self.bounds == other.bounds, f"{self.bounds = } {other.bounds = }"
        total = Distribution(self.bounds)
        total.counts = [mine + its for mine, its in zip(self.counts, other.counts, strict=True)]
        total.sum = self.sum + other.sum
        return total
