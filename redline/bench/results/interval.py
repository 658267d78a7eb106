"""Interval: where the same number, measured again with as many runs, will land.

The number is the mean or the median of n runs, whichever the table quotes. Two such numbers differ by a
normal variable of variance 2 v s^2, where s is the standard deviation of the runs and v what the number
varies by for runs of variance 1. With s estimated from the n runs themselves, the 95 % interval around the
number has half the width t * s * sqrt(2 v), t being the 97.5 % quantile of Student's distribution with n - 1
degrees of freedom (the prediction interval of any textbook). v is 1/n for the mean. For the median of normal
runs it comes near pi / (2n) as n grows; pi / (2n + 1) for odd n and pi / (2n + 5/2) for even n are within 4 %
of it. The interval knows nothing of a machine that changes between the two, and one run alone has none.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

Center = Literal["mean", "median"]

# 97.5 % quantiles of Student's t by degrees of freedom.
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145,
           2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048,
           2.045, 2.042)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Interval:
    """The mean or median of several runs, and where that of as many others lies in 19 of 20 cases."""

    center: float
    low: float | None
    high: float | None

    @classmethod
    def of(cls, values: Sequence[float], center: Center = "mean") -> Self:
        """Of one value per run. With one run, `low` and `high` are None."""
        middle = statistics.fmean(values) if center == "mean" else statistics.median(values)
        runs = len(values)
        if runs < 2:
            return cls(middle, None, None)
        half = quantile(runs - 1) * statistics.stdev(values) * math.sqrt(2 * variance(runs, center))
        return cls(middle, middle - half, middle + half)

    def __contains__(self, value: float) -> bool:
        return self.low is not None and self.high is not None and self.low <= value <= self.high


def variance(runs: int, center: Center) -> float:
    """Of the mean or the median of so many normal runs of variance 1."""
    if center == "mean":
        return 1 / runs
    return math.pi / (2 * runs + (1 if runs % 2 else 2.5))


def quantile(degrees: int) -> float:
    """Student's t at 97.5 %."""
    if degrees <= len(STUDENT):
        return STUDENT[degrees - 1]
    return 1.960 + 2.4 / degrees  # within 0.001 from 31 on
