"""The plot of a sweep: one SVG file that needs nothing else and follows the light or dark theme it is in."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape

from redline.bench.sweep.axis import tick_texts, ticks
from redline.bench.sweep.grid import budget_text
from redline.bench.sweep.labels import Labels
from redline.bench.sweep.report import latency_of, latency_title, limit_ms

WIDTH, HEIGHT = 760, 500
LEFT, TOP, RIGHT, BOTTOM = 72, 92, 736, 424  # of the area
LIGHT = ("#1f6feb", "#bc4c00", "#1a7f37", "#8250df", "#bf3989", "#57606a")
DARK = ("#58a6ff", "#f0883e", "#3fb950", "#bc8cff", "#f778ba", "#8b949e")
STYLE = """
  svg { --ground: #ffffff; --ink: #1f2328; --faint: #d1d9e0; --soft: #59636e; --mark: #cf222e; LIGHT }
  @media (prefers-color-scheme: dark) {
    svg { --ground: #0d1117; --ink: #f0f6fc; --faint: #30363d; --soft: #9198a1; --mark: #ff7b72; DARK }
  }
  text { font: 12px system-ui, sans-serif; fill: var(--ink) }
  .label { paint-order: stroke; stroke: var(--ground); stroke-width: 3px; stroke-linejoin: round }
  .ground { fill: var(--ground) }
  .title { font-size: 15px; font-weight: 600 }
  .soft { fill: var(--soft) }
  .grid { stroke: var(--faint); stroke-width: 1 }
  .limit { stroke: var(--mark); stroke-dasharray: 5 4; stroke-width: 1.5 }
  .limit-text, .strong { font-weight: 600 }
  .limit-text { fill: var(--mark) }
  .curve { fill: none; stroke-width: 1.5; opacity: .55 }
  .point { stroke-width: 2 }
  .ring { fill: none; stroke: var(--ink); stroke-width: 1.5 }
"""


def as_svg(report: dict[str, Any]) -> str:
    """Output rate over latency: a line per budget, a point per batch, the knee and the best ringed.

    A hollow point misses the target.
    """
    return "\n".join([*_opening(report), *_Plot(report).parts(), "</svg>", ""])


def _opening(report: dict[str, Any]) -> list[str]:
    where = report["environment"]
    title = escape(f"{report['model']}: throughput over latency by batch size")
    machine = f"{where['cpu']}, {report['threads']} threads, {report['date']}"
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" role="img">',
        f"<title>{title}</title>",
        f"<style>{coloured(STYLE)}</style>",
        f'<rect class="ground" width="{WIDTH}" height="{HEIGHT}" rx="6"/>',
        put_text(LEFT, 28, title, "title"),
        put_text(LEFT, 47, escape(report["load_text"]), "soft"),
        put_text(LEFT, 64, escape(machine), "soft"),
    ]


def coloured(style: str) -> str:
    """The style with the colours --c0 to --c5 of either theme."""
    return style.replace("LIGHT", _colours(LIGHT)).replace("DARK", _colours(DARK))


def _colours(colours: tuple[str, ...]) -> str:
    return " ".join(f"--c{number}: {colour};" for number, colour in enumerate(colours))


def put_text(x: float, y: float, content: str, kind: str = "", anchor: str = "start") -> str:
    """`content` is escaped already."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{content}</text>'


class _Plot:
    def __init__(self, report: dict[str, Any]) -> None:
        self._report = report
        self._rows = report["settings"]
        self._limit_ms = limit_ms(report)
        self._points_ms = [(latency_of(report, row) * 1e3, row["output_tok_s"]) for row in self._rows]
        self._x_ticks = ticks(1.05 * max(self._limit_ms or 0.0, *(x for x, _ in self._points_ms)), 8)
        self._y_ticks = ticks(1.05 * max(y for _, y in self._points_ms), 8)
        self._places = [self._place(*point) for point in self._points_ms]
        self._budgets = list(dict.fromkeys(row["chunked_prefill"] for row in self._rows))

    def parts(self) -> list[str]:
        return [*self._axes(), *self._limit(), *self._curves(), *self._marks(), *self._legend()]

    def _place(self, x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + x / self._x_ticks[-1] * (RIGHT - LEFT),
            BOTTOM - y / self._y_ticks[-1] * (BOTTOM - TOP),
        )

    def _axes(self) -> list[str]:
        parts = []
        for y, text in zip(self._y_ticks, tick_texts(self._y_ticks), strict=True):
            _, at = self._place(0, y)
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
            parts.append(put_text(LEFT - 8, at + 4, text, "soft", "end"))
        for x, text in zip(self._x_ticks, tick_texts(self._x_ticks), strict=True):
            at, _ = self._place(x, 0)
            parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{BOTTOM}"/>')
            parts.append(put_text(at, BOTTOM + 18, text, "soft", "middle"))
        parts.append(put_text(LEFT, TOP - 9, "output tokens/s"))
        parts.append(put_text(RIGHT, BOTTOM + 38, latency_title(self._report), "", "end"))
        return parts

    def _limit(self) -> list[str]:
        if self._limit_ms is None:
            return []
        at, _ = self._place(self._limit_ms, 0)
        anchor, beside = ("end", at - 6) if at > (LEFT + RIGHT) / 2 else ("start", at + 6)
        return [
            f'<line class="limit" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{BOTTOM}"/>',
            put_text(beside, BOTTOM - 8, f"target {self._limit_ms:g} ms", "limit-text", anchor),
        ]

    def _curves(self) -> list[str]:
        """Each budget's points by batch."""
        parts = []
        for number, budget in enumerate(self._budgets):
            pairs = zip(self._rows, self._places, strict=True)
            places = [f"{x:.1f},{y:.1f}" for row, (x, y) in pairs if row["chunked_prefill"] == budget]
            parts.append(f'<polyline class="curve" stroke="{_colour(number)}" points="{" ".join(places)}"/>')
        return parts

    def _marks(self) -> list[str]:
        labels = Labels((LEFT, TOP, RIGHT, BOTTOM), self._places)
        if self._limit_ms is not None:
            labels.keep_free_of(self._place(self._limit_ms, 0)[0])
        parts = []
        # Those that stand out choose the places of their labels first.
        order = sorted(range(len(self._rows)), key=lambda place: not self._roles(place))
        for place in order:
            x, y = self._places[place]
            row, roles = self._rows[place], self._roles(place)
            colour = _colour(self._budgets.index(row["chunked_prefill"]))
            fill = "var(--ground)" if row["meets"] is False else colour
            rings = [9.0, 12.5][: len(roles)]
            parts += [f'<circle class="ring" cx="{x:.1f}" cy="{y:.1f}" r="{radius}"/>' for radius in rings]
            parts.append(
                f'<circle class="point" cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{fill}" stroke="{colour}"/>'
            )
            label = ", ".join([self._name(row), *roles])
            at_x, at_y, anchor = labels.put((x, y), label, 8.0 + 3.5 * len(roles))
            parts.append(put_text(at_x, at_y, label, "label strong" if roles else "label", anchor))
        return parts

    def _roles(self, place: int) -> list[str]:
        return [role for role in ("knee", "best") if self._report[role] == place]

    def _name(self, row: dict[str, Any]) -> str:
        """The batch, and the budget where there are several."""
        budget = f"/{budget_text(row['chunked_prefill'])}" if len(self._budgets) > 1 else ""
        return f"{row['max_batch']}{budget}"

    def _legend(self) -> list[str]:
        one = len(self._budgets) == 1
        what = (
            f"points: max batch, budget {budget_text(self._budgets[0])}"
            if one
            else "points: max batch/budget"
        )
        notes = [what]
        if self._report["target_text"]:
            notes.append(f"hollow: misses {self._report['target_text']}")
        return [put_text(LEFT, BOTTOM + 60, escape("; ".join(notes)), "soft")]


def _colour(number: int) -> str:
    return f"var(--c{number % len(LIGHT)})"
