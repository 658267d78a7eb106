"""The rows of a comparison: each engine's runs with their interval, and how many times as fast Redline is.

Engines take turns, so round k of one is paired with round k of the other: the ratio is the median of the
ratios of the rounds, and what slows both does not widen its interval.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from redline.bench.against import Row
from redline.bench.cases import Case
from redline.bench.ceiling import Ceiling, part_ceiling
from redline.bench.footprint import Footprint
from redline.bench.results.metric import Metric

REDLINE = "Redline"


def rows_of(
    cases: Sequence[Case], rows: Sequence[Row], ceiling: Ceiling, model: Footprint
) -> list[dict[str, Any]]:
    """For a report, in the order of `rows`: what each engine's runs of each part say."""
    parts = {part.name: part for case in cases for part in case.parts}
    done = []
    for row in rows:
        ours = next(other for other in rows if other.part == row.part and other.engine == REDLINE)
        part = parts.get(row.part)
        done.append(
            {
                "case": row.case,
                "part": row.part,
                "engine": row.engine,
                "unit": row.unit,
                "values": row.values,
                "median": row.median,
                "measured": None if row.median is None else metric_of(row, cases).measured(row.values),
                "failure": row.failure,
                "ceiling": None if part is None else part_ceiling(part, model, ceiling),
                "redline_ratio": _ratio(row, ours),
                "best_peer": _is_best_peer(row, rows),
                "same_first_token": _agreement(row, ours),
            }
        )
    return done


def subjects_of(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same by engine, for `redline bench compare`; what failed has a note instead of a number."""
    subjects: dict[str, dict[str, Any]] = {}
    for row in rows:
        subject = subjects.setdefault(row["engine"], {"name": row["engine"], "metrics": {}, "notes": []})
        if row["failure"] is not None:
            subject["notes"].append(f"{row['part']} failed: {row['failure']}")
        if row["measured"] is not None:
            subject["metrics"][row["part"]] = row["measured"]
        if row["redline_ratio"] is not None:
            subject["metrics"][f"{row['part']} redline_ratio"] = row["redline_ratio"]
    return list(subjects.values())


def metric_of(row: Row, cases: Sequence[Case]) -> Metric:
    """A time, or how one grows, is better when smaller; a rate, or what is left of one, when larger."""
    of_times = any(case.ratio_of_times for case in cases if case.name == row.case)
    smaller = row.unit == "s" or (row.unit == "x" and of_times)
    return Metric(row.part, row.unit, "lower" if smaller else "higher", "median")


def _ratio(row: Row, ours: Row) -> dict[str, Any] | None:
    """How many times as fast Redline is, by round; an interrupt may have left one engine a round less."""
    if row is ours or row.unit == "x" or ours.median is None or row.median is None:
        return None
    pairs = zip(ours.values, row.values, strict=False)
    ratios = [theirs / mine if row.unit == "s" else mine / theirs for mine, theirs in pairs]
    return Metric(f"{row.part}: Redline is", "x", "higher", "median").measured(ratios)


def _is_best_peer(row: Row, rows: Iterable[Row]) -> bool:
    if row.engine == REDLINE or row.unit == "x" or row.median is None:
        return False
    peers = (other for other in rows if other.part == row.part and other.engine != REDLINE)
    return speed(row) == max(speed(other) for other in peers if other.median is not None)


def speed(row: Row) -> float:
    """Larger is better, whatever the unit."""
    assert row.median is not None
    return 1 / row.median if row.unit == "s" else row.median


def _agreement(row: Row, ours: Row) -> float | None:
    """How many answers begin with the token that Redline's begin with. Random prompts have near ties."""
    if row is ours or not row.first_ids or len(row.first_ids) != len(ours.first_ids):
        return None
    pairs = zip(row.first_ids, ours.first_ids, strict=True)
    return sum(theirs == mine for theirs, mine in pairs) / len(row.first_ids)
