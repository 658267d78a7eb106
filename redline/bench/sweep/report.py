"""The report of a sweep: a table, a plot and what to choose, for a terminal and as Markdown."""

from __future__ import annotations

import string
import textwrap
from collections.abc import Sequence
from typing import Any

from redline.bench.report import ceiling_text
from redline.bench.results.document import machine_of, runs_text
from redline.bench.results.metric import spread_text
from redline.bench.sweep.axis import milliseconds
from redline.bench.sweep.grid import Setting, budget_text
from redline.bench.sweep.metrics import RATES, TIMES, key
from redline.bench.sweep.text_plot import text_plot

LETTERS = string.ascii_letters
COLUMNS = 80
FAR = 1.6  # times the highest latency


def shown_percentiles(report: dict[str, Any]) -> list[str]:
    """Three of them, the target's among them."""
    asked = report["target"]["percentile"]
    return [f"p{share:g}" for share in sorted({50.0, asked if asked not in (50, 99) else 95.0, 99.0})]


def latency_of(report: dict[str, Any], row: dict[str, Any]) -> float:
    """The one on the x axis, in seconds."""
    seconds: float = row[report["latency"]][f"p{report['target']['percentile']:g}"]
    return seconds


def latency_title(report: dict[str, Any]) -> str:
    return f"{TIMES[report['latency']]} p{report['target']['percentile']:g}, ms"


def limit_ms(report: dict[str, Any]) -> float | None:
    """Where a plot shows the target; None: there is none, or so far away that it would squeeze the points."""
    limit: float | None = report["target"][report["latency"]]
    widest = max(latency_of(report, row) for row in report["settings"])
    return limit * 1e3 if limit is not None and limit <= FAR * widest else None


def marks(report: dict[str, Any]) -> list[str]:
    """A letter for each setting: (c) is the knee, [c] the best."""
    done = []
    for place, letter in zip(range(len(report["settings"])), LETTERS, strict=False):
        mark = f"({letter})" if place == report["knee"] else letter
        done.append(f"[{mark}]" if place == report["best"] else mark)
    return done


def as_text(report: dict[str, Any]) -> str:
    """For a terminal of 80 columns."""
    rows = report["settings"]
    points = {
        mark: (latency_of(report, row) * 1e3, row["output_tok_s"])
        for mark, row in zip(marks(report), rows, strict=True)
    }
    curve = [list(points)[place] for place in report["curve"]]
    titles = (latency_title(report), "output tok/s")
    plot = text_plot(points, curve, titles, limit_ms(report))
    lines = [report["model"], f"{report['load_text']}.", "", *_table(report), "", *plot, ""]
    lines += [wrapped for line in advice(report) for wrapped in textwrap.wrap(line, COLUMNS)]
    *others, command = facts(report)  # a command in one piece can be copied
    return "\n".join([*lines, "", *(textwrap.fill(fact, COLUMNS) for fact in others), command, ""])


def _table(report: dict[str, Any]) -> list[str]:
    shares = "".join(f"{share:>6}" for share in shown_percentiles(report))
    lines = [
        f"{'':18}{'tok/s':^15}{'':9}{'TTFT, ms':^18}  {'TPOT, ms':^18}",
        f"{'':5}{'batch':>5} {'budget':>7}{'output':>8}{'total':>7}{'running':>9}{shares}  {shares}",
    ]
    for mark, row in zip(marks(report), report["settings"], strict=True):
        lines.append(
            f"{mark:^5}{row['max_batch']:>5} {budget_text(row['chunked_prefill']):>7}"
            f"{row['output_tok_s']:>8.0f}{row['total_tok_s']:>7.0f}{row['occupancy']:>9.1f}"
            f"{_times(report, row, 'ttft_s')}  {_times(report, row, 'tpot_s')}"
        )
        lines += _spreads(report, row)
    return [line.rstrip() for line in lines]


def _times(report: dict[str, Any], row: dict[str, Any], name: str) -> str:
    return "".join(f"{milliseconds(row[name][share]):>6}" for share in shown_percentiles(report))


def _spreads(report: dict[str, Any], row: dict[str, Any]) -> list[str]:
    """A line below a setting: the interval of each number above it; none of one run."""
    if len(row["runs"]) < 2:
        return []
    rates = [spread(report, row, name).removeprefix("+- ") for name in RATES]
    times = [
        "".join(
            f"{spread(report, row, name, share).removeprefix('+- '):>6}"
            for share in shown_percentiles(report)
        )
        for name in TIMES
    ]
    return [f"{'+-':>18}{rates[0]:>8}{rates[1]:>7}{rates[2]:>9}{times[0]}  {times[1]}"]


def spread(report: dict[str, Any], row: dict[str, Any], name: str, share: str = "") -> str:
    """Half of the interval of one number, as "+- 1.2%"."""
    return spread_text(report["subjects"][0]["metrics"][key(_setting(row), name, share)])


def _beside(report: dict[str, Any], row: dict[str, Any], name: str, share: str = "") -> str:
    """The same behind a number in a sentence or a cell; nothing of one run."""
    return f" {spread(report, row, name, share)}" if len(row["runs"]) > 1 else ""


def _setting(row: dict[str, Any]) -> Setting:
    return Setting(max_batch=row["max_batch"], chunked_prefill=row["chunked_prefill"])


def advice(report: dict[str, Any]) -> list[str]:
    """What the sweep found, in sentences."""
    lines = []
    if report["knee"] is not None:
        lines.append(
            f"Knee: {described(report, report['knee'])}. Beyond it, latency grows faster than output."
        )
    else:
        lines.append("No knee: the curve has fewer than three settings, or it does not bend.")
    if report["best"] is not None:
        lines.append(
            f"Best: {described(report, report['best'])}. It is the most output with {report['target_text']}."
        )
    elif report["target_text"]:
        place = report["closest"]
        excess = report["settings"][place]["excess"]
        lines.append(
            f"No setting has {report['target_text']}. The closest is {described(report, place)}, "
            f"{excess:.2f} times the target."
        )
    return [*lines, *report["left_out"], *_preempted(report)]


def described(report: dict[str, Any], place: int) -> str:
    """A setting with what it yields."""
    row = report["settings"][place]
    share = f"p{report['target']['percentile']:g}"
    times = ", ".join(
        f"{title} {share} {milliseconds(row[name][share])} ms{_beside(report, row, name, share)}"
        for name, title in TIMES.items()
    )
    rate = f"{row['output_tok_s']:.0f} output tok/s{_beside(report, row, 'output_tok_s')}"
    return f"{_setting(row)}: {rate}, {times}"


def _preempted(report: dict[str, Any]) -> list[str]:
    number = sum(row["num_preemptions"] for row in report["settings"])
    return (
        [f"Requests gave way {number:.0f} times for lack of K/V memory: --kv-memory gives more."]
        if number
        else []
    )


def facts(report: dict[str, Any]) -> list[str]:
    """Hardware, settings, ceilings, command."""
    where = report["environment"]
    interrupted = "Interrupted by the user. " if report["interrupted"] else ""
    return [
        f"{interrupted}{runs_text(report['subjects'], 'alternating runs')} {report['threads']} threads; "
        f"load average before: {report['load_before']:.2f}.",
        f"Machine: {machine_of(where)}, {where['system']}.",
        f"Ceiling: {ceiling_text(report['ceiling'])}",
        f"Commit {where['commit'] or 'none'}, redline {where['redline']}, Python {where['python']}.",
        f"Command: {' '.join(report['command'])}",
    ]


def as_markdown(report: dict[str, Any], plot: str | None) -> str:
    """A dated report; `plot` is the address of the plot, as the report sees it."""
    shares = shown_percentiles(report)
    header = ["", "batch", "budget", "output tok/s", "total tok/s", "running"]
    header += [f"{name} {share}, ms" for name in TIMES.values() for share in shares]
    lines = [
        f"# Batch size by experiment: {report['model']}, {report['date']}",
        "",
        f"{report['load_text']}.",
        "",
    ]
    lines += [_row(header), _row(["---", *["---:"] * (len(header) - 1)])]
    for place, row in enumerate(report["settings"]):
        roles = [role for role in ("knee", "best") if report[role] == place]
        cells = [", ".join(roles), str(row["max_batch"]), budget_text(row["chunked_prefill"])]
        rates = (f"{row['output_tok_s']:.0f}", f"{row['total_tok_s']:.0f}", f"{row['occupancy']:.1f}")
        cells += [text + _beside(report, row, name) for name, text in zip(RATES, rates, strict=True)]
        cells += [
            milliseconds(row[name][share]) + _beside(report, row, name, share)
            for name in TIMES
            for share in shares
        ]
        lines.append(_row(cells))
    if plot is not None:
        lines += ["", f"![Throughput over latency]({plot})"]
    lines += ["", *(f"- {line}" for line in advice(report)), "", *(f"- {fact}" for fact in facts(report))]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
