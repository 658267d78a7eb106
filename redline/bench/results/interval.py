"""Interval: where the same measurement, made again, will land.

A mean of n runs with standard deviation s, compared with the mean of n further runs, differs by a normal
variable of variance s^2 (1/n + 1/n). With s estimated from the n runs themselves, the 95 % interval around
the mean has half the width t * s * sqrt(2/n), t being the 97.5 % quantile of Student's distribution with
n - 1 degrees of freedom (the prediction interval of any textbook). It knows nothing of a machine that
changes between the two, and one run alone has none.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

# 97.5 % quantiles of Student's t by degrees of freedom.
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145,
           2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048,
           2.045, 2.042)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Interval:
    """The mean of several runs, and where the mean of as many others lies in 19 of 20 cases."""

    mean: float
    low: float | None
    high: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Of one value per run. With one run, `low` and `high` are None."""
        mean = statistics.fmean(values)
        if len(values) < 2:
            return cls(mean, None, None)
        half = quantile(len(values) - 1) * statistics.stdev(values) * math.sqrt(2 / len(values))
        return cls(mean, mean - half, mean + half)

    @property
    def half(self) -> float | None:
        """Half of its width."""
        return None if self.high is None else self.high - self.mean

    def __contains__(self, value: float) -> bool:
        return self.low is not None and self.high is not None and self.low <= value <= self.high


def quantile(degrees: int) -> float:
    """Student's t at 97.5 %."""
    if degrees <= len(STUDENT):
        return STUDENT[degrees - 1]
    return 1.960 + 2.4 / degrees  # within 0.001 from 31 on
