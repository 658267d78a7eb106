"""The roofline in plain characters, 80 columns wide."""

from __future__ import annotations

from redline.bench.hardware.hardware import Hardware
from redline.bench.hardware.roofline import LEAST, MOST, LogScale, Roof, rate, rates_shown, roofs

WIDTH, HEIGHT = 66, 18  # of the area
MARKS = "mcabdefgh"  # of the lines: m and c are of memory and caches


def text_picture(hardware: Hardware) -> list[str]:
    """Lines of the picture, then what its letters mean."""
    shown = roofs(hardware)
    x = LogScale(LEAST, MOST, 0, WIDTH - 1)
    y = LogScale(*rates_shown(shown), HEIGHT - 1, 0)
    cells = [[" "] * WIDTH for _ in range(HEIGHT)]
    for mark, roof in zip(MARKS, shown, strict=False):
        _draw(cells, mark, roof, shown, (x, y))
    return [*_framed(cells, x, y), "", *_legend(shown)]


def _draw(
    cells: list[list[str]], mark: str, roof: Roof, shown: list[Roof], scales: tuple[LogScale, LogScale]
) -> None:
    """A bandwidth up to the highest peak; a peak from where memory that is fast enough reaches it."""
    x, y = scales
    fastest = max(each.bandwidth for each in shown if each.bandwidth)
    for column in range(WIDTH):
        intensity = LEAST * (MOST / LEAST) ** (column / (WIDTH - 1))
        reached = roof.at(intensity)
        if not y.least <= reached <= y.most or (roof.peak is not None and fastest * intensity < reached):
            continue
        row = round(y(reached))
        if cells[row][column] == " ":
            cells[row][column] = mark


def _framed(cells: list[list[str]], x: LogScale, y: LogScale) -> list[str]:
    labels = {round(y(value)): rate(value) for value in y.powers(10)}
    margin = max(map(len, labels.values()))
    lines = ["multiply-adds per second"]
    for row, line in enumerate(cells):
        edge = "+" if row in labels else "|"
        lines.append(f"{labels.get(row, ''):>{margin}} {edge}{''.join(line)}".rstrip())
    axis, under = ["-"] * WIDTH, [" "] * (margin + 2 + WIDTH + 6)
    for value in x.powers(4):
        column, text = round(x(value)), f"{value:g}"
        axis[column] = "+"
        start = margin + 2 + column - len(text) // 2
        under[start : start + len(text)] = list(text)
    lines.append(" " * (margin + 1) + "+" + "".join(axis))
    return [*lines, "".join(under).rstrip(), "multiply-adds per byte".rjust(margin + 2 + WIDTH)]


def _legend(shown: list[Roof]) -> list[str]:
    lines = []
    for mark, roof in zip(MARKS, shown, strict=False):
        unit = (
            f"{roof.bandwidth / 1e9:.1f} GB/s" if roof.bandwidth else f"{(roof.peak or 0) / 1e9:,.0f} GMAC/s"
        )
        lines.append(f"  {mark}  {roof.name:<26}{unit:>16}")
    return lines
