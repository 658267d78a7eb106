"""line_plot(): lines in an SVG that stands inside a page and takes the page's colours."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from redline.bench.sweep.axis import tick_texts, ticks

WIDTH, HEIGHT = 640, 300
LEFT, TOP, RIGHT, BOTTOM = 56, 30, 624, 252  # of the area
NUM_COLOURS = 6

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Axis:
    """Where values lie between two ends of the picture, and what is written beside them."""

    ticks: Sequence[float]
    texts: Sequence[str]
    scale: Callable[[float], float]  # of a value, between 0 and 1

    @classmethod
    def linear(cls, highest: float) -> Axis:
        """From 0."""
        at = ticks(highest or 1.0, 6)
        return cls(at, tick_texts(at), lambda value: value / at[-1])

    @classmethod
    def logarithmic(cls, lowest: float, highest: float) -> Axis:
        """By 1, 2 and 5, around positive values."""
        low = math.floor(math.log10(lowest))
        steps = [step * 10.0**power for power in range(low, low + 16) for step in (1, 2, 5)]
        first = max(place for place, step in enumerate(steps) if step <= lowest * 1.0001)
        last = next((place for place, step in enumerate(steps) if step >= highest), len(steps) - 1)
        at = steps[first : max(last, first + 1) + 1]
        span = math.log(at[-1] / at[0])
        shown = at if len(at) <= 9 else [step for step in at if step == at[0] or f"{step:e}"[0] == "1"]
        return cls(shown, [f"{step:g}" for step in shown], lambda value: math.log(value / at[0]) / span)


def distribution_plot(curves: Mapping[str, Sequence[float]], title: str, limit_s: float | None) -> str:
    """The share of values that are at most so long, on a logarithmic scale of milliseconds.

    `curves`: percentiles 0 to 100 in seconds, by subject. `limit_s` is drawn as a line.
    """
    least = 1e-3
    lines = {
        name: [(max(least, 1e3 * value), float(share)) for share, value in enumerate(values)]
        for name, values in curves.items()
    }
    # The shortest and the longest one in a hundred may be far away; they would squeeze the rest.
    longest = max(points[99][0] for points in lines.values()) * 1.05
    shortest = max(longest / 1e3, min(points[1][0] for points in lines.values()))
    x_axis = Axis.logarithmic(shortest, longest)
    y_axis = Axis([0, 25, 50, 75, 100], ["0 %", "25 %", "50 %", "75 %", "100 %"], lambda share: share / 100)
    return _svg(f"{title}: share of all that took at most so many ms", lines, (x_axis, y_axis), limit_s)


def time_plot(series: Mapping[str, Sequence[float]], bin_s: Mapping[str, float], title: str) -> str:
    """Values over the seconds of a run, by subject."""
    lines = {
        name: [((place + 0.5) * bin_s[name], value) for place, value in enumerate(values)]
        for name, values in series.items()
    }
    x_axis = Axis.linear(max(points[-1][0] for points in lines.values()))
    y_axis = Axis.linear(1.05 * max(y for points in lines.values() for _, y in points))
    return _svg(f"{title}, over the seconds of the first run", lines, (x_axis, y_axis), None)


def _svg(title: str, lines: Mapping[str, Points], axes: tuple[Axis, Axis], limit_s: float | None) -> str:
    x_axis, y_axis = axes
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
        _text(LEFT - 44, 14, escape(title), "plot-title"),
        *_grid(x_axis, y_axis),
    ]
    for number, points in enumerate(lines.values()):
        parts.append(_line(points, x_axis, y_axis, number))
    if limit_s is not None and 0 <= x_axis.scale(limit_s * 1e3) <= 1:
        at = LEFT + x_axis.scale(limit_s * 1e3) * (RIGHT - LEFT)
        parts.append(f'<line class="limit" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{BOTTOM}"/>')
        beside, anchor = (at - 5, "end") if at > (LEFT + RIGHT) / 2 else (at + 5, "start")
        parts.append(_text(beside, BOTTOM - 6, "SLO", "limit-text", anchor))
    return "\n".join([*parts, *_legend(list(lines)), "</svg>"])


def _grid(x_axis: Axis, y_axis: Axis) -> list[str]:
    parts = []
    for value, text in zip(x_axis.ticks, x_axis.texts, strict=True):
        at = LEFT + x_axis.scale(value) * (RIGHT - LEFT)
        parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{BOTTOM}"/>')
        parts.append(_text(at, BOTTOM + 16, text, "soft", "middle"))
    for value, text in zip(y_axis.ticks, y_axis.texts, strict=True):
        at = BOTTOM - y_axis.scale(value) * (BOTTOM - TOP)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(_text(LEFT - 6, at + 4, text, "soft", "end"))
    return parts


def _line(points: Points, x_axis: Axis, y_axis: Axis, number: int) -> str:
    places = []
    for x, y in points:
        across = max(0.0, x_axis.scale(x))
        if across > 1.001:
            break
        places.append(f"{LEFT + across * (RIGHT - LEFT):.1f},{BOTTOM - y_axis.scale(y) * (BOTTOM - TOP):.1f}")
    return f'<polyline class="line" stroke="{colour(number)}" points="{" ".join(places)}"/>'


def _legend(names: list[str]) -> list[str]:
    if len(names) < 2:
        return []
    parts, x = [], float(LEFT)
    for number, name in enumerate(names):
        parts.append(f'<rect x="{x:.1f}" y="{BOTTOM + 30}" width="14" height="4" fill="{colour(number)}"/>')
        parts.append(_text(x + 20, BOTTOM + 36, escape(name), ""))
        x += 40 + 7 * len(name)
    return parts


def _text(x: float, y: float, content: str, kind: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{content}</text>'


def colour(number: int) -> str:
    """Of the page's variables --c0 to --c5."""
    return f"var(--c{number % NUM_COLOURS})"
