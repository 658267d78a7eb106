"""The plot of an ablation: a bar for each technique, on one logarithmic scale, with the range of its runs.

One SVG file that needs nothing else and follows the light or dark theme it is in.
"""

from __future__ import annotations

import math
from typing import Any
from xml.sax.saxutils import escape

from redline.bench.sweep.svg import STYLE, coloured, put_text

WIDTH = 860
LEFT, RIGHT = 250, 690  # of the bars; labels stand on both sides
TOP, ROW, GAP = 88, 26, 34  # of the first row, between rows, above a group
BAR = 14
POWERS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
GROUPS = {"best": "off alone, from the best", "plain": "on alone, from the plain"}
COLOURS = {"best": "var(--c0)", "plain": "var(--c1)"}
RANGE = ".range { stroke: var(--ink); stroke-width: 1.5 } .one { stroke: var(--soft); stroke-width: 1.5 }"


class _Scale:
    """Ratios to places."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        most = max((row["ratio"]["high"] for row in rows), default=2.0)
        least = min((row["ratio"]["low"] for row in rows), default=1.0)
        self.most = next((power for power in POWERS if power >= most), most)
        self.least = next((power for power in reversed(POWERS) if power <= least), least)
        self.most = max(self.most, 2.0)

    def __call__(self, ratio: float) -> float:
        share = math.log(ratio / self.least) / math.log(self.most / self.least)
        return LEFT + min(1.0, max(0.0, share)) * (RIGHT - LEFT)

    def powers(self) -> list[float]:
        return [power for power in POWERS if self.least <= power <= self.most]


def as_svg(report: dict[str, Any]) -> str:
    """Bars to the right of 1 are techniques that pay; rows that failed are left out."""
    rows = [row for row in report["rows"] if row["failure"] is None]
    groups = [name for name in GROUPS if any(row["start"] == name for row in rows)]
    bottom = TOP + len(rows) * ROW + len(groups) * GAP
    height = bottom + 44
    where, scale = report["environment"], _Scale(rows)
    machine = f"{where['cpu']}, {where['num_cores']} cores, {report['date']}"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
            f'height="{height}" role="img">',
            f"<title>What each technique buys: {escape(report['model'])}</title>",
            f"<style>{coloured(STYLE)}{RANGE}</style>",
            f'<rect class="ground" width="{WIDTH}" height="{height}" rx="6"/>',
            put_text(24, 28, f"What each technique buys: {escape(report['model'])}", "title"),
            put_text(24, 48, escape(machine), "soft"),
            put_text(24, 66, "times as good with it as without, and the range of the runs", "soft"),
            *_axis(scale, bottom),
            *(part for place, name in enumerate(groups) for part in _group(place, name, groups, rows, scale)),
            "</svg>",
            "",
        ]
    )


def _axis(scale: _Scale, bottom: float) -> list[str]:
    parts = []
    for power in scale.powers():
        at, kind = scale(power), "one" if power == 1 else "grid"
        parts.append(f'<line class="{kind}" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{bottom + 6}"/>')
        parts.append(put_text(at, bottom + 24, f"{power:g}x", "soft", "middle"))
    return parts


def _group(place: int, name: str, groups: list[str], rows: list[dict[str, Any]], scale: _Scale) -> list[str]:
    before = sum(row["start"] in groups[:place] for row in rows)
    top = TOP + before * ROW + place * GAP
    parts = [put_text(24, top + 20, GROUPS[name], "strong")]
    for number, row in enumerate(row for row in rows if row["start"] == name):
        parts += _bar(row, top + GAP + number * ROW, scale)
    return parts


def _bar(row: dict[str, Any], y: float, scale: _Scale) -> list[str]:
    ratio = row["ratio"]
    one, end = scale(1.0), scale(ratio["median"])
    low, high = scale(ratio["low"]), scale(ratio["high"])
    left, width = min(one, end), max(1.0, abs(end - one))
    middle, colour = y + BAR / 2, COLOURS[row["start"]]
    label = f"{row['technique']} <tspan class='soft'>{escape(row['load'])}</tspan>"
    return [
        put_text(LEFT - 10, y + 12, label, "", "end"),
        f'<rect x="{left:.1f}" y="{y}" width="{width:.1f}" height="{BAR}" rx="2" fill="{colour}"/>',
        f'<line class="range" x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}"/>',
        put_text(max(end, high, one) + 8, y + 12, f"{_times(ratio['median'])}", "label strong"),
    ]


def _times(ratio: float) -> str:
    return f"{ratio:.0f}x" if ratio >= 100 else f"{ratio:.3g}x"
