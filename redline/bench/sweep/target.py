"""Which setting to choose: the highest output rate among those whose latencies meet the target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from redline.bench.sweep.measure import Measured
from redline.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Seconds that the `percentile` of a latency may reach; None: any. Raises ConfigError."""

    ttft_s: float | None = None
    tpot_s: float | None = None
    percentile: float = 95.0

    def __post_init__(self) -> None:
        for name, value in (("--ttft", self.ttft_s), ("--tpot", self.tpot_s)):
            if value is not None and not 0 < value < float("inf"):
                raise ConfigError(f"{name} is {value:g}; it must be seconds, above 0")
        if not 0 < self.percentile < 100:
            raise ConfigError(f"--percentile is {self.percentile:g}; it must lie between 0 and 100")

    @property
    def given(self) -> bool:
        """True when there is something to meet."""
        return self.ttft_s is not None or self.tpot_s is not None

    def excess(self, measured: Measured) -> float:
        """How many times its limit the worst latency is: 1 or less meets the target."""
        pairs = ((measured.ttft_s, self.ttft_s), (measured.tpot_s, self.tpot_s))
        return max((times[self.percentile] / limit for times, limit in pairs if limit is not None), default=0)

    def __str__(self) -> str:
        limits = (("TTFT", self.ttft_s), ("TPOT", self.tpot_s))
        return " and ".join(
            f"{name} p{self.percentile:g} of at most {limit * 1e3:g} ms"
            for name, limit in limits
            if limit is not None
        )


def best(points: Sequence[Measured], target: Target) -> int | None:
    """The place of the highest output rate that meets the target; None: nothing does, or none is given."""
    meeting = [place for place, point in enumerate(points) if target.given and target.excess(point) <= 1]
    return max(meeting, key=lambda place: points[place].output_tok_s, default=None)


def closest(points: Sequence[Measured], target: Target) -> int:
    """The place of the setting that misses the target by the least."""
    return min(range(len(points)), key=lambda place: target.excess(points[place]))
