"""The report of `redline bench ops`: for `redline bench compare`, and as a table for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redline.bench.ceiling import Ceiling
from redline.bench.ops import OpResult
from redline.bench.report import ceiling_text
from redline.bench.results.document import facts
from redline.bench.results.metric import spread_text

HEADER = ("op", "shape", "rows", "time", "", "GB/s", "GMAC/s", "of ceiling", "bound")
LEFT = {0, 1, 8}  # columns of words


def ops_report(
    results: Sequence[OpResult], model: str, ceiling: Ceiling, repeats: int, interrupted: bool
) -> dict[str, Any]:
    """What was measured, at the shapes of `model`. The circumstances are the caller's to add."""
    metrics = {result.name: result.measured() for result in results}
    return {
        "kind": "ops",
        "measured": {
            "workload": "ops",
            "model": model,
            "threads": ceiling.threads,
            "isa": ceiling.isa,
        },
        "subjects": [{"name": "redline", "metrics": metrics, "notes": []}],
        "repeats": repeats,
        "interrupted": interrupted,
        "model": model,
        "threads": ceiling.threads,
        "ceiling": ceiling.as_dict(),
        "ops": [result.as_dict() for result in results],
    }


def as_text(report: dict[str, Any]) -> str:
    """The table, a block of lines per op and shape, then what a reader needs to judge it."""
    lines, last = [HEADER], None
    for each, measured in zip(report["ops"], report["subjects"][0]["metrics"].values(), strict=True):
        name = (each["op"], each["shape"])
        lines.append((*(("", "") if name == last else name), *_cells(each, spread_text(measured))))
        last = name
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
    runs, *others = facts(report)
    return "\n".join(
        [
            *("  ".join(_placed(line, widths)).rstrip() for line in lines),
            "",
            runs,
            f"Ceiling: {ceiling_text(report['ceiling'])}",
            *others,
            "",
        ]
    )


def _cells(op: dict[str, Any], spread: str) -> tuple[str, ...]:
    macs = f"{op['macs_s'] / 1e9:.0f}" if op["macs_s"] else ""
    rates = (f"{op['bytes_s'] / 1e9:.1f}", macs, f"{op['share']:.0%}")
    return (str(op["rows"]), _time(op["seconds"]), spread, *rates, op["bound"])


def _placed(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [
        cell.ljust(width) if column in LEFT else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(line, widths, strict=True))
    ]


def _time(seconds: float) -> str:
    return f"{seconds * 1e6:.1f} us" if seconds < 1e-3 else f"{seconds * 1e3:.2f} ms"
