"""A report as one page of HTML: tables and plots, no script, nothing loaded, in the light or the dark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from redline.bench.results.compare import BETTER, WORSE, Difference
from redline.bench.results.document import differences, facts, verdict
from redline.bench.results.line_plot import distribution_plot, time_plot
from redline.bench.results.metric import quoted, spread_text, value_text
from redline.bench.sweep.svg import coloured

TITLES = {"ttft": "TTFT", "tbt": "TBT", "tpot": "TPOT", "e2e": "end to end"}
SERIES = {"running": "requests under way", "chunks_s": "chunks per second"}
STYLE = """
  :root { color-scheme: light dark; --ground: #ffffff; --ink: #1f2328; --faint: #d1d9e0; --soft: #59636e;
          --mark: #cf222e; --good: #1a7f37; --row: #f6f8fa; LIGHT }
  @media (prefers-color-scheme: dark) {
    :root { --ground: #0d1117; --ink: #f0f6fc; --faint: #30363d; --soft: #9198a1; --mark: #ff7b72;
            --good: #3fb950; --row: #151b23; DARK }
  }
  body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground); margin: 0 auto;
         max-width: 1340px; padding: 24px }
  h1 { font-size: 22px; margin: 0 0 4px } h2 { font-size: 17px; margin: 32px 0 8px }
  p { margin: 4px 0 } .soft, .soft td { color: var(--soft) }
  .tables { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums }
  th, td { padding: 3px 14px 3px 0; text-align: left; white-space: nowrap }
  th { border-bottom: 1px solid var(--faint); font-weight: 600 }
  tbody tr:nth-child(even) { background: var(--row) } .number { text-align: right }
  .better { color: var(--good) } .worse { color: var(--mark) }
  .plots { display: grid; gap: 16px 32px;
           grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr)) }
  svg { width: 100%; height: auto } svg text { font: 12px system-ui, sans-serif; fill: var(--ink) }
  svg .soft { fill: var(--soft) } svg .plot-title { font-weight: 600 }
  svg .grid { stroke: var(--faint); stroke-width: 1 } svg .line { fill: none; stroke-width: 2 }
  svg .limit { stroke: var(--mark); stroke-dasharray: 5 4; stroke-width: 1.5 }
  svg .limit-text { fill: var(--mark); font-weight: 600 }
  code { font: 13px ui-monospace, monospace; overflow-wrap: anywhere }
"""


def as_html(report: dict[str, Any]) -> str:
    """The whole page."""
    *others, command = facts(report)
    body = [
        f"<h1>{escape(report['title'])}</h1>",
        *(f'<p class="soft">{escape(line)}</p>' for line in report["intro"]),
        "<h2>Results</h2>",
        _metrics(report["subjects"]),
        *_compared(report),
        *_plots(report),
        *_noticed(report["subjects"]),
        "<h2>How it was measured</h2>",
        *(f"<p>{escape(line)}</p>" for line in others),
        f"<p><code>{escape(command.removeprefix('Command: '))}</code></p>",
    ]
    head = [
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(report['title'])}</title>",
        f"<style>{coloured(STYLE)}</style>",
    ]
    return "\n".join(['<!doctype html>', '<html lang="en">', "<head>", *head, "</head>", "<body>", *body,
                      "</body>", "</html>", ""])  # fmt: skip


def _metrics(subjects: Sequence[dict[str, Any]]) -> str:
    header = [""]
    for subject in subjects:
        header += [subject["name"] if len(subjects) > 1 else "mean", ""]
    rows = []
    for name in dict.fromkeys(name for subject in subjects for name in subject["metrics"]):
        found = [subject["metrics"].get(name) for subject in subjects]
        cells = [next(each["title"] for each in found if each is not None)]
        for each in found:
            cells += [""] * 2 if each is None else [value_text(quoted(each), each["unit"]), spread_text(each)]
        rows.append((cells, ""))
    return _table(header, rows)


def _compared(report: dict[str, Any]) -> list[str]:
    if len(report["subjects"]) < 2:
        return []
    first = report["subjects"][0]["name"]
    parts = []
    for name, found in differences(report):
        parts += [f"<h2>{escape(name)} beside {escape(first)}</h2>", _differences(found, first, name)]
    return parts


def _differences(found: Sequence[Difference], first: str, name: str) -> str:
    kinds = {BETTER: "better", WORSE: "worse"}
    rows = [
        (
            [
                each.title,
                value_text(each.mean_a, each.unit),
                value_text(each.mean_b, each.unit),
                verdict(each),
            ],
            kinds.get(each.verdict, ""),
        )
        for each in found
    ]
    return _table(["", first, name, "permutation test of the runs"], rows)


def _plots(report: dict[str, Any]) -> list[str]:
    subjects = [subject for subject in report["subjects"] if subject.get("curves")]
    limits = report.get("slo_s") or {}
    plots = []
    for name, title in TITLES.items():
        curves = {each["name"]: each["curves"][name] for each in subjects if name in each["curves"]}
        if curves:
            plots.append(distribution_plot(curves, title, limits.get(name)))
    timed = {each["name"]: each["timeline"] for each in subjects if each["timeline"] is not None}
    for name, title in SERIES.items() if timed else ():
        bins = {subject: line["bin_s"] for subject, line in timed.items()}
        plots.append(time_plot({subject: line[name] for subject, line in timed.items()}, bins, title))
    return ["<h2>Plots</h2>", '<div class="plots">', *plots, "</div>"] if plots else []


def _noticed(subjects: Sequence[dict[str, Any]]) -> list[str]:
    parts = ["<h2>Noticed</h2>"]
    for subject in subjects:
        who = f"{subject['name']}: " if len(subjects) > 1 else ""
        parts += [f"<p>{escape(who + note)}</p>" for note in subject["notes"]]
    return parts if len(parts) > 1 else []


def _table(header: Sequence[str], rows: Iterable[tuple[Sequence[str], str]]) -> str:
    """Cells are set to the right but for the first and, in a table of sentences, the last."""
    lines = ['<div class="tables"><table><thead><tr>']
    lines += [f'<th class="{_side(place)}">{escape(cell)}</th>' for place, cell in enumerate(header)]
    lines.append("</tr></thead><tbody>")
    for cells, kind in rows:
        tags = [f'<td class="{_side(place)}">{escape(cell)}</td>' for place, cell in enumerate(cells)]
        lines.append(f'<tr class="{kind}">{"".join(tags)}</tr>')
    return "\n".join([*lines, "</tbody></table></div>"])


def _side(place: int) -> str:
    return "number" if place else ""
