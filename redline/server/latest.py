"""LatestRequests: whose the latest requests are, and how long the finished ones took."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from redline.engine.outputs import RequestMetrics
    from redline.server.job import Job

MAX_OWNERS = 4096  # as many as the engine explains
MAX_TIMES = 512  # of the latest requests, that distributions are made of
# Of the bars of a histogram, from 100 us to 500 s: each about half as long again as the one before.
BOUNDS_S = tuple(round(digit * 10.0**power, 6) for power in range(-4, 3) for digit in (1, 1.5, 2, 3, 5, 7))
PERCENTILES = (50, 90, 99)


class LatestRequests:
    """One entry for each request that comes, one for each that ends; the oldest give way."""

    def __init__(self) -> None:
        self._owners: OrderedDict[str, str] = OrderedDict()  # tenants by the id of the job
        self._ended: deque[RequestMetrics] = deque(maxlen=MAX_TIMES)
        self.num_ended = 0

    def came(self, job: Job) -> None:
        """A request goes to the engine."""
        self._owners[job.id] = job.tenant
        if len(self._owners) > MAX_OWNERS:
            self._owners.popitem(last=False)

    def ended(self, metrics: RequestMetrics) -> None:
        """All of the answer to a prompt is there."""
        self._ended.append(metrics)
        self.num_ended += 1

    def owner(self, job_id: str) -> str | None:
        """The tenant whose request it is; None: it is not known."""
        return self._owners.get(job_id)

    def distributions(self) -> dict[str, Any]:
        """Of the latest requests, in seconds: time to the first token, and per token after it."""
        return {
            "ttft": self._distribution(lambda each: each.ttft_s, lambda each: each.num_output_tokens > 0),
            "tpot": self._distribution(lambda each: each.tpot_s, lambda each: bool(each.itl_s)),
        }

    def _distribution(
        self, value: Callable[[RequestMetrics], float], has_one: Callable[[RequestMetrics], bool]
    ) -> dict[str, Any]:
        values = sorted(value(each) for each in self._ended if has_one(each))
        counts = Counter(bisect_left(BOUNDS_S, each) for each in values)
        shown = range(min(counts), max(counts) + 1) if counts else range(0)
        return {
            "count": len(values),
            "percentiles": {f"p{percent}": _percentile(values, percent) for percent in PERCENTILES},
            "bars": [(*_bounds(place), counts[place]) for place in shown],
        }


def _bounds(place: int) -> tuple[float, float | None]:
    """Above the first, up to the second; None: however long."""
    return (0.0, *BOUNDS_S)[place], (*BOUNDS_S, None)[place]


def _percentile(values: list[float], percent: int) -> float | None:
    """Of sorted values, the least that is not below `percent` % of them (nearest rank)."""
    return values[max(0, -(-len(values) * percent // 100) - 1)] if values else None
