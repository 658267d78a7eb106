"""Document: what every report of a benchmark has in common, whatever it measured.

A report is a JSON object:

    kind, title, intro      what was measured, in words
    measured                what must be equal in two reports for their numbers to be comparable
    subjects                [{"name", "metrics": {name: see Metric.measured}, "notes": [sentences], ...}]
    repeats, interrupted, load_before, environment, date, command
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from redline.bench.environment import environment
from redline.bench.results.compare import SAME, Difference, compare


def circumstances(command: Sequence[str], load_before: float) -> dict[str, Any]:
    """Where and how it was measured."""
    return {
        "date": datetime.date.today().isoformat(),
        "command": list(command),
        "load_before": load_before,
        "environment": asdict(environment()),
    }


def load_average() -> float:
    """Of the last minute, before a measurement adds to it."""
    return os.getloadavg()[0]


def machine_of(where: dict[str, Any]) -> str:
    return f"{where['cpu']}, {where['num_cores']} cores, {where['memory_bytes'] / 2**30:.0f} GiB"


def facts(report: dict[str, Any]) -> list[str]:
    """Runs, machine, commit, command."""
    where = report["environment"]
    interrupted = "Interrupted by the user. " if report["interrupted"] else ""
    return [
        f"{interrupted}{runs_text(report['subjects'])} Load average before: {report['load_before']:.2f}.",
        f"Machine: {machine_of(where)}, {where['system']}.",
        f"Commit {where['commit'] or 'none'}, redline {where['redline']}, Python {where['python']}, "
        f"{report['date']}.",
        f"Command: {' '.join(report['command'])}",
    ]


def runs_text(subjects: Sequence[dict[str, Any]], how: str = "runs") -> str:
    """What the numbers and their intervals are. `how`: what there are several of, in words."""
    metrics = [each for subject in subjects for each in subject["metrics"].values()]
    runs = sorted(len(each["values"]) for each in metrics) or [0]
    if runs[-1] < 2:
        return "One run, which has no interval (--repeats)."
    number = str(runs[-1]) if runs[0] == runs[-1] else f"{runs[0]} to {runs[-1]}"
    center = metrics[0].get("quotes", "mean")
    return (
        f"{center.capitalize()}s of {number} {how} after a warm-up; +- is where the {center} of as many more "
        "lands in 19 of 20 cases."
    )


def differences(report: dict[str, Any]) -> list[tuple[str, list[Difference]]]:
    """Every other subject beside the first."""
    first, *others = report["subjects"]
    return [(each["name"], compare(first["metrics"], each["metrics"])) for each in others]


def verdict(difference: Difference) -> str:
    """In words, with the size where there is one."""
    if difference.verdict == SAME:
        return f"{SAME} (p={difference.p:.2f})"
    ratio = "" if difference.ratio is None else f"{difference.ratio:.2f}x, "
    return f"{ratio}{difference.verdict} (p={difference.p:.3f})"
