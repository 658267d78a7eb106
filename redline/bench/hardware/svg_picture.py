"""The roofline as one SVG file that needs nothing else and follows the light or dark theme it is in."""

from __future__ import annotations

from xml.sax.saxutils import escape

from redline.bench.hardware.hardware import Hardware
from redline.bench.hardware.roofline import LEAST, MOST, LogScale, Roof, rate, rates_shown, roofs
from redline.bench.sweep.svg import STYLE, coloured, put_text

WIDTH, HEIGHT = 760, 460
LEFT, TOP, RIGHT, BOTTOM = 72, 84, 736, 400  # of the area


def svg_picture(hardware: Hardware, machine: str) -> str:
    """Bandwidths rise, peaks are level; what a kernel can reach lies below both."""
    shown = roofs(hardware)
    x = LogScale(LEAST, MOST, LEFT, RIGHT)
    y = LogScale(*rates_shown(shown), BOTTOM, TOP)
    title = f"Roofline of {hardware.threads} threads ({hardware.isa})"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
            f'height="{HEIGHT}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{coloured(STYLE)}</style>",
            f'<rect class="ground" width="{WIDTH}" height="{HEIGHT}" rx="6"/>',
            put_text(LEFT, 28, escape(title), "title"),
            put_text(LEFT, 47, escape(machine), "soft"),
            *_axes(x, y),
            *(part for place, roof in enumerate(shown) for part in _line(place, roof, shown, (x, y))),
            "</svg>",
            "",
        ]
    )


def _axes(x: LogScale, y: LogScale) -> list[str]:
    parts = []
    for value in y.powers(10):
        at = y(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(put_text(LEFT - 8, at + 4, rate(value), "soft", "end"))
    for value in x.powers(4):
        parts.append(put_text(x(value), BOTTOM + 18, f"{value:g}", "soft", "middle"))
    parts.append(put_text(LEFT, TOP - 9, "multiply-adds per second"))
    parts.append(put_text(RIGHT, BOTTOM + 38, "multiply-adds per byte", "", "end"))
    return parts


def _line(place: int, roof: Roof, shown: list[Roof], scales: tuple[LogScale, LogScale]) -> list[str]:
    """With its name above its right end, or, for a bandwidth, on the side where there is room."""
    x, y = scales
    top = max(each.peak for each in shown if each.peak is not None)
    fastest = max(each.bandwidth for each in shown if each.bandwidth)
    if roof.peak is not None:
        start, end = max(LEAST, roof.peak / fastest), MOST
        name = f"{roof.name}, {rate(roof.peak)}MAC/s"
        label = put_text(RIGHT - 4, y(roof.peak) - 6, escape(name), "label", "end")
    else:
        assert roof.bandwidth is not None
        start, end = LEAST, min(MOST, top / roof.bandwidth)
        name = f"{roof.name}, {roof.bandwidth / 1e9:.0f} GB/s"
        if roof.bandwidth == fastest:
            label = put_text(x(end) - 60, y(roof.at(end)) + 14, escape(name), "label", "end")
        else:
            label = put_text(x(1) + 10, y(roof.at(1)) + 8, escape(name), "label")
    ends = f'x1="{x(start):.1f}" y1="{y(roof.at(start)):.1f}" x2="{x(end):.1f}" y2="{y(roof.at(end)):.1f}"'
    return [f'<line class="curve" style="opacity: 1" stroke="var(--c{place % 6})" {ends}/>', label]
