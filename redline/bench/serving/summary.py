"""Summary: the numbers of one run, and of several together, for a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from redline.bench.results.metric import Metric
from redline.bench.serving.call import Outcome
from redline.bench.serving.cpu import CpuUse
from redline.bench.serving.generator import LoadRun
from redline.bench.serving.served import Count, Served
from redline.bench.serving.slo import Slo

PERCENTILES = (50, 90, 99)
LATENCIES = {"ttft": "TTFT", "tbt": "TBT", "tpot": "TPOT", "e2e": "end to end"}
CURVE = tuple(range(101))  # percentiles that a distribution is drawn by
BINS = 120  # of a run, in which its load over time is drawn

METRICS = {
    "output_tok_s": Metric("output", "tok/s", "higher"),
    "total_tok_s": Metric("input and output", "tok/s", "higher"),
    "requests_s": Metric("requests", "req/s", "higher"),
    "goodput_s": Metric("goodput", "req/s", "higher"),
    "good_share": Metric("good requests", "%", "higher"),
    **{
        f"{name}_p{share}_s": Metric(f"{title} p{share}", "s", "lower")
        for name, title in LATENCIES.items()
        for share in PERCENTILES
    },
    "failed_share": Metric("failed requests", "%", "lower"),
}


def run_values(run: LoadRun, served: Sequence[Served], slo: Slo | None) -> dict[str, float]:
    """One run's value of each metric that it has."""
    ended = [each for each in run.outcomes if not each.cut_off]
    span_s = max(run.duration_s, 1e-9)
    output = sum(each.output_tokens for each in served)
    values = {
        "output_tok_s": output / span_s,
        "total_tok_s": (output + sum(each.prompt_tokens for each in served)) / span_s,
        "requests_s": len(served) / span_s,
    }
    if ended:
        values["failed_share"] = 1 - len(served) / len(ended)
    if slo is not None and ended:
        good = sum(slo.met(each.times_s) for each in served)
        values |= {"goodput_s": good / span_s, "good_share": good / len(ended)}
    for name, seconds in latencies(served).items():
        if seconds:
            found = np.percentile(seconds, PERCENTILES)
            values |= {f"{name}_p{share}_s": float(at) for share, at in zip(PERCENTILES, found, strict=True)}
    return values


def latencies(served: Sequence[Served]) -> dict[str, list[float]]:
    """All times of each kind, in seconds: gaps of all requests together, the others one per request."""
    return {
        "ttft": [each.ttft_s for each in served],
        "tbt": [gap for each in served for gap in each.tbt_s],
        "tpot": [each.tpot_s for each in served if each.tpot_s is not None],
        "e2e": [each.e2e_s for each in served],
    }


def summarise(
    runs: Sequence[LoadRun], cpu: Sequence[CpuUse], num_requests: int, slo: Slo | None, count: Count | None
) -> dict[str, Any]:
    """What a report says about one endpoint. Runs that were interrupted count when no other is there."""
    whole = [run for run in runs if not run.interrupted] or list(runs)
    served = [[Served.of(each, count) for each in run.outcomes if each.done] for run in whole]
    values = [run_values(run, each, slo) for run, each in zip(whole, served, strict=True)]
    everything = [each for of_run in served for each in of_run]
    outcomes = [each for run in runs for each in run.outcomes]
    return {
        "metrics": {
            name: metric.measured([each[name] for each in values if name in each])
            for name, metric in METRICS.items()
            if any(name in each for each in values)
        },
        "num_done": sum(each.done for each in outcomes),
        "num_unsent": sum(num_requests - len(run.outcomes) for run in runs),
        "num_cut_off": sum(each.cut_off for each in outcomes),
        "failures": failures(outcomes),
        "usage": usage_of(everything),
        "generator": generator_of(runs),
        "cpu": cpu_of(cpu),
        "curves": {name: curve(seconds) for name, seconds in latencies(everything).items() if seconds},
        "timeline": timeline(whole[0]) if whole else None,
        "requests": [_row(number, run, each) for number, run in enumerate(whole) for each in run.outcomes],
    }


def failures(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """By kind: how many, what the first one said, and how long clients were told to wait."""
    found: dict[str, Any] = {}
    for outcome in outcomes:
        failure = outcome.failure
        if failure is None or outcome.cut_off:
            continue
        row = found.setdefault(failure.kind, {"count": 0, "first": failure.detail, "retry_after_s": []})
        row["count"] += 1
        if failure.retry_after_s is not None:
            row["retry_after_s"].append(failure.retry_after_s)
    for row in found.values():
        waits = row["retry_after_s"]
        row["retry_after_s"] = float(np.median(waits)) if waits else None
    return found


def usage_of(served: Sequence[Served]) -> dict[str, Any]:
    """What the server reports, beside what was counted."""
    chunks = sum(each.num_chunks for each in served)
    tokens = sum(each.output_tokens for each in served)
    cached = [each.cached_tokens for each in served if each.cached_tokens is not None]
    prompts = sum(each.prompt_tokens for each in served)
    return {
        "prompt_tokens": prompts,
        "output_tokens": tokens,
        "cached_tokens": sum(cached) if cached else None,
        "chunks": chunks,
        "tokens_per_chunk": tokens / chunks if chunks else None,
        "doubts": dict(Counter(doubt for each in served for doubt in each.doubts)),
    }


def generator_of(runs: Sequence[LoadRun]) -> dict[str, Any]:
    """Whether the generator itself was in the way: how late it sent and read, and how busy it was."""
    outcomes = [each for run in runs for each in run.outcomes]
    chunks = sum(len(each.answer.chunk_s) for each in outcomes)
    span_s = sum(run.duration_s for run in runs)
    return {
        "cores": sum(run.generator_cpu_s for run in runs) / span_s if span_s > 0 else None,
        "late_p99_s": percentile([each.late_s for each in outcomes], 99),
        "read_lag_p99_s": percentile([each.answer.max_lag_s for each in outcomes], 99),
        "undated_share": sum(each.answer.num_undated for each in outcomes) / chunks if chunks else 0.0,
        "merged_share": sum(each.answer.num_merged for each in outcomes) / chunks if chunks else 0.0,
        "connect_p99_s": percentile([each.connect_s for each in outcomes], 99),
    }


def cpu_of(cpu: Sequence[CpuUse]) -> dict[str, float | None]:
    """Means over the runs: cores that the server used, and the share of the machine that was busy."""

    def mean(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return float(np.mean(known)) if known else None

    return {
        "server_cores": mean([each.server_cores for each in cpu]),
        "machine_share": mean([each.machine_share for each in cpu]),
    }


def percentile(values: Sequence[float], share: float) -> float | None:
    return float(np.percentile(values, share)) if values else None


def curve(seconds: Sequence[float]) -> list[float]:
    """The distribution by its percentiles, 0 to 100."""
    return [float(value) for value in np.percentile(seconds, CURVE)]


def timeline(run: LoadRun) -> dict[str, Any] | None:
    """Requests under way, and tokens per second, over the time of a run."""
    if not run.outcomes or run.duration_s <= 0:
        return None
    edges = np.linspace(run.start_s, run.end_s, BINS + 1)
    width_s = float(edges[1] - edges[0])
    tokens, _ = np.histogram([at_s for each in run.outcomes for at_s in each.answer.chunk_s], edges)
    middles = (edges[:-1] + edges[1:]) / 2
    sent, ended = (np.sort([getattr(each, name) for each in run.outcomes]) for name in ("sent_s", "end_s"))
    running = np.searchsorted(sent, middles) - np.searchsorted(ended, middles)
    return {
        "bin_s": width_s,
        "running": [int(number) for number in running],
        "chunks_s": [float(number / width_s) for number in tokens],
    }


def _row(number: int, run: LoadRun, outcome: Outcome) -> Mapping[str, Any]:
    answer = outcome.answer
    return {
        "run": number,
        "place": outcome.place,
        "sent_s": round(outcome.sent_s - run.start_s, 6),
        "ttft_s": round(answer.chunk_s[0] - outcome.sent_s, 6) if answer.chunk_s else None,
        "end_s": round(outcome.end_s - run.start_s, 6),
        "chunks": len(answer.chunk_s),
        "tokens": None if answer.usage is None else answer.usage.completion_tokens,
        "failure": "cut off" if outcome.cut_off else outcome.failure and outcome.failure.kind,
    }
