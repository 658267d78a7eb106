"""The flame view of a profile: a step, its layers, their ops, each as wide as its time. One SVG file."""

from __future__ import annotations

from itertools import groupby
from xml.sax.saxutils import escape

from redline.bench.profile.calls import Call
from redline.bench.profile.profile import Profile
from redline.bench.sweep.svg import STYLE, coloured, put_text

WIDTH, ROW, MARGIN, TOP = 1200, 22, 12, 76
SQUARE = 10  # of a colour in the legend
PER_LETTER = 6.6


def flame_svg(profiles: list[Profile], title: str) -> str:
    """A block of three rows for each phase."""
    height = TOP + len(profiles) * (3 * ROW + 34)
    names = list(dict.fromkeys(call.part for each in profiles for call in each.calls))
    colours = {name: f"var(--c{place % 6})" for place, name in enumerate(names)}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{coloured(STYLE)} rect.box {{ stroke: var(--ground); stroke-width: .6 }}</style>",
        f'<rect class="ground" width="{WIDTH}" height="{height}" rx="6"/>',
        put_text(MARGIN, 30, escape(title), "title"),
        *_legend(colours),
    ]
    for place, each in enumerate(profiles):
        parts += _phase(each, TOP + place * (3 * ROW + 34), colours)
    return "\n".join([*parts, "</svg>", ""])


def _legend(colours: dict[str, str]) -> list[str]:
    parts, x = [], float(MARGIN)
    for name, colour in colours.items():
        parts.append(f'<rect x="{x:.1f}" y="44" width="{SQUARE}" height="{SQUARE}" fill="{colour}"/>')
        parts.append(put_text(x + SQUARE + 5, 53, escape(name)))
        x += SQUARE + 22 + PER_LETTER * len(name)
    return parts


def _phase(profile: Profile, top: float, colours: dict[str, str]) -> list[str]:
    whole_s = sum(call.seconds for call in profile.calls)
    scale = (WIDTH - 2 * MARGIN) / whole_s
    heading = f"{profile.phase.name}: {profile.seconds * 1e3:.2f} ms"
    parts = [put_text(MARGIN, top + 14, escape(heading), "strong")]
    at = float(MARGIN)
    for layer, group in groupby(profile.calls, key=lambda call: call.layer):
        calls = list(group)
        width = scale * sum(call.seconds for call in calls)
        name = "" if layer is None else f"layer {layer}"
        if name:
            parts.append(_box(at, top + ROW, width, name, "var(--faint)", calls))
        for call in calls:
            own = scale * call.seconds
            parts.append(_box(at, top + 2 * ROW, own, call.part, colours[call.part], [call]))
            at += own
    return parts


def _box(x: float, y: float, width: float, name: str, colour: str, calls: list[Call]) -> str:
    """With a tooltip; the name is inside if there is room."""
    seconds = sum(call.seconds for call in calls)
    tip = f"<title>{escape(name)}: {seconds * 1e6:.1f} us</title>"
    shape = (
        f'<rect class="box" x="{x:.2f}" y="{y:.1f}" width="{max(width, 0.3):.2f}" height="{ROW - 2}" '
        f'fill="{colour}" fill-opacity=".75">{tip}</rect>'
    )
    room = (width - 8) / PER_LETTER
    shown = name if len(name) <= room else name.removeprefix("layer ")
    return shape + put_text(x + 4, y + 14, escape(shown)) if len(shown) <= room else shape
