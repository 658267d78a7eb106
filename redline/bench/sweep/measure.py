"""measure(): what the times of a run's requests say about its setting.

A run begins with an empty batch and ends with one that empties, and neither is how a busy server spends its
time. So rates count from the moment when the first batch has its first tokens to the moment when the last
request has its own: there are as many requests in the middle of their answers at one end as at the other. And
the first batch, whose prompts all come at once as no later ones do, does not count for latencies.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from redline.engine.outputs import RequestMetrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One run, or the medians of several. Rates per second, times in seconds by percentile."""

    output_tok_s: float
    total_tok_s: float  # tokens of prompts too, which count when the first token of the answer is there
    occupancy: float  # requests that ran, on average over the time
    ttft_s: dict[float, float]
    tpot_s: dict[float, float]
    num_preemptions: float


def measure(requests: Sequence[RequestMetrics], fill: int, percentiles: Sequence[float]) -> Measured:
    """Of one run whose first `fill` requests came at once; fewer than all of them."""
    assert 1 <= fill < len(requests), f"{fill = } of {len(requests)}"
    start_s, end_s = _window(requests, fill)
    span_s = end_s - start_s
    inside = [sum(start_s < at_s <= end_s for at_s in _token_times(each)) for each in requests]
    prompts = sum(each.num_prompt_tokens for each in requests if start_s < _first_s(each) <= end_s)
    later = requests[fill:]
    return Measured(
        output_tok_s=sum(inside) / span_s,
        total_tok_s=(sum(inside) + prompts) / span_s,
        occupancy=sum(_overlap_s(each, start_s, end_s) for each in requests) / span_s,
        ttft_s=_percentiles([each.ttft_s for each in later], percentiles),
        tpot_s=_percentiles([each.tpot_s for each in later], percentiles),
        num_preemptions=sum(each.num_preemptions for each in requests),
    )


def medians(runs: Sequence[Measured]) -> Measured:
    """Of each number on its own."""

    def median(name: str) -> float:
        values: list[float] = [getattr(run, name) for run in runs]
        return statistics.median(values)

    def by_percentile(name: str) -> dict[float, float]:
        each = [getattr(run, name) for run in runs]
        return {share: statistics.median(times[share] for times in each) for share in each[0]}

    return Measured(
        output_tok_s=median("output_tok_s"),
        total_tok_s=median("total_tok_s"),
        occupancy=median("occupancy"),
        ttft_s=by_percentile("ttft_s"),
        tpot_s=by_percentile("tpot_s"),
        num_preemptions=median("num_preemptions"),
    )


def as_json(measured: Measured) -> dict[str, Any]:
    """With percentiles as p50, p95, ..."""
    return {
        name: {f"p{share:g}": seconds for share, seconds in value.items()}
        if isinstance(value := getattr(measured, name), dict)
        else value
        for name in measured.__slots__
    }


def _window(requests: Sequence[RequestMetrics], fill: int) -> tuple[float, float]:
    """When rates begin and end to count; the whole run if the first batch has the last first token."""
    start_s = max(_first_s(each) for each in requests[:fill])
    end_s = max(_first_s(each) for each in requests)
    if start_s < end_s:
        return start_s, end_s
    return min(each.arrival_s for each in requests), max(each.arrival_s + each.e2e_s for each in requests)


def _first_s(request: RequestMetrics) -> float:
    return request.arrival_s + request.ttft_s


def _token_times(request: RequestMetrics) -> list[float]:
    return list(itertools.accumulate(request.itl_s, initial=_first_s(request)))


def _overlap_s(request: RequestMetrics, start_s: float, end_s: float) -> float:
    """How long it ran between the two moments."""
    from_s, to_s = request.arrival_s + request.queue_s, request.arrival_s + request.e2e_s
    return max(0.0, min(to_s, end_s) - max(from_s, start_s))


def _percentiles(values: list[float], percentiles: Sequence[float]) -> dict[float, float]:
    return {share: float(np.percentile(values, share)) for share in percentiles}
