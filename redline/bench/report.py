"""The report of a comparison as a table: for a terminal, and as Markdown for benchmarks/."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from redline.bench.results.document import runs_text
from redline.bench.results.metric import quoted, spread_text

HEADER = ("case", "engine", "", "", "of ceiling", "Redline is", "", "")
GIB, MIB = 2**30, 2**20
NUMERIC = (2, 3, 4, 5, 6)  # columns that are set to the right


def table(report: dict[str, Any]) -> list[tuple[str, ...]]:
    """One line of cells per engine and part; the part is named in its first line."""
    lines = []
    for part, rows in itertools.groupby(report["rows"], key=lambda row: row["part"]):
        for row in rows:
            lines.append((part, *_cells(row)))
            part = ""
    return lines


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    measured, ceiling, ratio = row["measured"], row["ceiling"], row["redline_ratio"]
    if measured is None:
        return row["engine"], "failed", "", "", "", "", row["failure"] or "did not run"
    median = quoted(measured)
    return (
        row["engine"],
        _number(median, row["unit"]),
        spread_text(measured),
        "" if ceiling is None or row["unit"] != "tok/s" else f"{median / ceiling:.0%}",
        *(("", "") if ratio is None else (f"{quoted(ratio):.2f}x", spread_text(ratio))),
        "best peer" if row["best_peer"] else "",
    )


def _number(value: float, unit: str) -> str:
    if unit == "tok/s":
        return f"{value:.0f} tok/s" if value >= 1000 else f"{value:.1f} tok/s"
    return f"{value:.2f} {unit}"


def as_text(report: dict[str, Any]) -> str:
    """The table for a terminal, then what a reader needs to judge it."""
    lines = [HEADER, *table(report)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
    text = []
    for line in lines:
        if line[0] and line is not HEADER:
            text.append("")
        text.append(_aligned(line, widths))
    return "\n".join([*text, "", *facts(report)]) + "\n"


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    cells = (
        cell.rjust(width) if column in NUMERIC else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(line, widths, strict=True))
    )
    return "  ".join(cells).rstrip()


def as_markdown(report: dict[str, Any]) -> str:
    """A dated report."""
    engines = ", ".join(name for name in report["engines"])
    lines = [f"# {engines}: {report['model']}, {report['date']}", ""]
    lines += [_row(HEADER), _row(["---"] * 2 + ["---:"] * len(NUMERIC) + ["---"])]
    lines += [_row(line) for line in table(report)]
    lines += ["", *(f"- {fact}" for fact in facts(report)), ""]
    lines += [f"- {name}: {summary}" for name, summary in report["cases"].items()]
    return "\n".join(lines) + "\n"


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def facts(report: dict[str, Any]) -> list[str]:
    """Hardware, versions, settings, ceilings, command."""
    where, ceiling = report["environment"], report["ceiling"]
    interrupted = "Interrupted. " if report["interrupted"] else ""
    lines = [
        f"{interrupted}{runs_text(report['subjects'], 'alternating runs')}",
        f"{report['threads']} threads, instruction sets: {report['isa']}; load average before: "
        f"{report['load_before']:.2f}.",
        f"Machine: {where['cpu']}, {where['num_cores']} cores, {where['memory_bytes'] / GIB:.0f} GiB, "
        f"{where['system']}.",
        f"Ceiling: {ceiling_text(ceiling)}",
    ]
    for name, engine in report["engines"].items():
        memory = engine["peak_memory_bytes"]
        lines.append(
            f"{name} reads the file {_how(engine['reads'])}"
            + ("" if memory is None else f", peak memory {memory / MIB:.0f} MiB")
            + ("" if not engine["launch"] else f": {engine['launch']}")
            + "".join(f" {key}={value}" for key, value in engine["variables"].items())
        )
    lines.append(f"Commit {where['commit'] or 'none'}, redline {where['redline']}, Python {where['python']}.")
    lines.append(f"Command: {' '.join(report['command'])}")
    return lines


def _how(reads: str) -> str:
    return reads if reads == "itself" else f"as {reads}"


def ceiling_text(ceiling: dict[str, Any]) -> str:
    macs = ", ".join(f"{kind} {rate / 1e9:.0f}" for kind, rate in ceiling["macs"].items())
    weights = f"{ceiling['read_bytes'] / 1e9:.1f} GB/s over {ceiling['buffer_bytes'] / 1e6:.0f} MB"
    return (
        f"{ceiling['threads']} threads ({ceiling['isa']}) read {weights}, as much as a step does, and "
        f"{ceiling['memory_read_bytes'] / 1e9:.1f} GB/s over far more; GMAC/s from registers: {macs}."
    )
