"""The report of an ablation: rows for a terminal, Markdown for benchmarks/, sentences on what was claimed."""

from __future__ import annotations

import textwrap
from typing import Any

Row = dict[str, Any]
TITLES = {
    "best": "Off alone, from the best configuration",
    "plain": "On alone, from the plain configuration (small sizes of the loads)",
}
HEADER = (
    "technique",
    "load",
    "without",
    "with",
    "payoff",
    "range",
    "memory",
    "K/V",
    "TTFT",
    "TPOT",
    "answers",
)
NUMERIC = range(2, 10)
LEFT_OUT, WIDE = (7, 8, 9), 132  # columns that a narrower terminal goes without
LEFT_OUT_TOO, MIDDLING = (5, 6), 100  # and one that is narrower still
MIB = 2**20
COLUMNS = 100


def cells(row: Row) -> tuple[str, ...]:
    """One pair, with `without -> with` where both matter."""
    name, load = row["technique"], row["load"]
    if row["failure"] is not None:
        return (name, load, "failed", "", "", "", "", "", "", "", row["failure"])
    ratio = row["ratio"]
    return (
        name,
        load,
        f"{_short(row['median_off'])} {row['unit']}",
        f"{_short(row['median_on'])} {row['unit']}",
        f"{_short(ratio['median'])}x",
        f"{_short(ratio['low'])}-{_short(ratio['high'])}",
        _both(row, "peak_memory_bytes", MIB, "MiB"),
        _both(row, "kv_bytes", MIB, "MiB"),
        _both(row, "ttft_s", 1e-3, "ms"),
        _both(row, "tpot_s", 1e-3, "ms"),
        kept(row),
    )


def kept(row: Row) -> str:
    """What became of the promise."""
    same = f"{row['same_answers']}/{row['answers']} same"
    found = row.get("fidelity")
    if found is None:
        return same  # tokens, not bits: `redline verify` compares those
    return f"{same}; KL {found['mean_kl']:.2g}, top-1 {found['top1_agreement']:.1%}"


def _short(value: float) -> str:
    """Three digits that matter."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _both(row: Row, name: str, unit: float, suffix: str) -> str:
    pair = [row[f"{name}_{side}"] for side in ("off", "on")]
    if None in pair:
        return ""
    off, on = (_short(value / unit) for value in pair)
    return f"{off} {suffix}" if off == on else f"{off} > {on} {suffix}"


def claims(report: dict[str, Any]) -> list[str]:
    """Whether what is claimed of techniques held in this run."""
    lines = []
    for row in report["rows"]:
        if row["claim"] is None or row["failure"] is not None:
            continue
        ratio = row["ratio"]["median"]
        verdict = "holds" if ratio >= row["claim"] else "MISSED"
        lines.append(
            f"{verdict}: {row['technique']} at least {row['claim']:g}x on {row['load']}, {_short(ratio)}x"
        )
    return lines


def facts(report: dict[str, Any]) -> list[str]:
    """What a reader needs to judge or repeat it."""
    where = report["environment"]
    interrupted = "Interrupted by the user. " if report["interrupted"] else ""
    return [
        f"{interrupted}{_runs(report['repeats'])} after a warm-up; each configuration has its own process. "
        f"Load average before: {report['load_before']:.2f}.",
        "Memory is the peak of the process, K/V the most that sequences held; without > with. Answers are "
        "compared token by token with those of the other side.",
        "Naive attention multiplies with NumPy's BLAS on one thread. A load average above 1 means that "
        "others computed too; ratios stand that better than rates do.",
        *(f"{row['technique']} on {row['load']} ({row['start']}): {row['note']}." for row in report["rows"]
          if row["note"] and row["failure"] is None and row["start"] == "best"),
        f"Machine: {where['cpu']}, {where['num_cores']} cores, {where['memory_bytes'] / 2**30:.0f} GiB, "
        f"{where['system']}.",
        f"Commit {where['commit'] or 'none'}, redline {where['redline']}, Python {where['python']}.",
        f"Command: {' '.join(report['command'])}",
    ]  # fmt: skip


def _runs(repeats: int) -> str:
    if repeats == 1:
        return "A first look: one run of each, so the ratios have no range,"
    coverage = 1.0 - 2.0 ** (1 - repeats)
    return (
        f"Medians of {repeats} alternating runs; the range of the paired ratios holds the true median with "
        f"{coverage:.0%};"
    )


def tables(report: dict[str, Any]) -> dict[str, list[tuple[str, ...]]]:
    """Rows of cells under their headings, in the order of the report."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for row in report["rows"]:
        found.setdefault(TITLES[row["start"]], []).append(cells(row))
    return found


def as_text(report: dict[str, Any]) -> str:
    """For a pipe: aligned columns."""
    lines = [f"{report['model']}, {report['date']}"]
    for title, rows in tables(report).items():
        lines += ["", title, "", *_aligned([HEADER, *rows])]
    return "\n".join([*lines, "", *_closing(report)]) + "\n"


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    return [
        "  ".join(
            cell.rjust(width) if column in NUMERIC else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _closing(report: dict[str, Any], width: int = COLUMNS) -> list[str]:
    *others, command = facts(report)
    claimed = claims(report)
    return [
        *claimed,
        *([""] if claimed else []),
        *(textwrap.fill(fact, min(width, COLUMNS)) for fact in others),
        command,
    ]


def print_tables(report: dict[str, Any]) -> None:
    """For a terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    gone = (*(LEFT_OUT if console.width < WIDE else ()), *(LEFT_OUT_TOO if console.width < MIDDLING else ()))
    shown = [column for column in range(len(HEADER)) if column not in gone]
    for title, rows in tables(report).items():
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
        for column, name in ((column, HEADER[column]) for column in shown):
            table.add_column(
                name,
                justify="right" if column in NUMERIC else "left",
                style="bold" if name == "payoff" else None,
                no_wrap=name != "answers",
            )
        for row in rows:
            table.add_row(*(row[column] for column in shown))
        console.print(table)
    console.print("\n".join(_closing(report, console.width)), markup=False, highlight=False)


def as_markdown(report: dict[str, Any], plot: str | None) -> str:
    """A dated report; `plot` is the address of the plot, as the report sees it."""
    lines = [f"# What each technique buys: {report['model']}, {report['date']}", ""]
    if plot is not None:
        lines += [f"![Payoff of each technique]({plot})", ""]
    lines += [f"- {claim}" for claim in claims(report)]
    for title, rows in tables(report).items():
        align = ["---:" if column in NUMERIC else "---" for column in range(len(HEADER))]
        lines += ["", f"## {title}", "", _row(HEADER), _row(align), *(_row(row) for row in rows)]
    lines += ["", "## Loads", "", *(f"- {name}: {text}" for name, text in report["loads"].items())]
    lines += ["", "## How", "", *(f"- {fact}" for fact in facts(report))]
    return "\n".join(lines) + "\n"


def _row(row: tuple[str, ...] | list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
