"""A plot in plain characters: a letter for each point, dots along the curve, round numbers on both axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from redline.bench.sweep.axis import tick_texts, ticks

WIDTH, HEIGHT = 66, 17  # of the area; 80 columns with the numbers at its left
Point = tuple[float, float]


def text_plot(
    points: Mapping[str, Point], curve: Sequence[str], titles: tuple[str, str], limit: float | None = None
) -> list[str]:
    """Lines of a plot of `points` by mark, those of `curve` joined; `limit` is a line upright at that x.

    Where two marks would fall on one place, the later moves to the next free one.
    """
    right = ticks(1.02 * max([x for x, _ in points.values()] + ([limit] if limit else [])), 8)
    top = ticks(1.02 * max(y for _, y in points.values()), 8)
    canvas = _Canvas(right[-1], top[-1])
    if limit is not None:
        canvas.upright(limit)
    for start, end in zip(curve, curve[1:], strict=False):
        canvas.join(points[start], points[end])
    for mark, point in points.items():
        canvas.place(mark, point)
    return _framed(canvas.lines(), top, right, titles)


class _Canvas:
    def __init__(self, right: float, top: float) -> None:
        self._right, self._top = right, top
        self._cells = [[" "] * WIDTH for _ in range(HEIGHT)]

    def column(self, x: float) -> int:
        return min(WIDTH - 1, round(x / self._right * (WIDTH - 1)))

    def row(self, y: float) -> int:
        return HEIGHT - 1 - min(HEIGHT - 1, round(y / self._top * (HEIGHT - 1)))

    def upright(self, x: float) -> None:
        for cells in self._cells:
            cells[self.column(x)] = ":"

    def join(self, start: Point, end: Point) -> None:
        first, last = self.column(start[0]), self.column(end[0])
        for column in range(first + 1, last):
            share = (column - first) / (last - first)
            self._cells[self.row(start[1] + share * (end[1] - start[1]))][column] = "."

    def place(self, mark: str, point: Point) -> None:
        """The mark's letter on the point, brackets beside it."""
        row = self.row(point[1])
        left = self.column(point[0]) - len(mark) // 2
        left = max(0, min(WIDTH - len(mark), left))
        while not self._free(row, left, len(mark)) and left < WIDTH - len(mark):
            left += 1
        self._cells[row][left : left + len(mark)] = list(mark)

    def _free(self, row: int, left: int, length: int) -> bool:
        return all(cell in " .:" for cell in self._cells[row][left : left + length])

    def lines(self) -> list[str]:
        return ["".join(cells) for cells in self._cells]


def _framed(
    lines: list[str], top: Sequence[float], right: Sequence[float], titles: tuple[str, str]
) -> list[str]:
    """The area with its axes; `titles` are of x and y."""
    canvas = _Canvas(right[-1], top[-1])
    numbers = {canvas.row(y): text for y, text in zip(top, tick_texts(top), strict=True)}
    margin = max(map(len, numbers.values()))
    framed = [titles[1]]
    for row, line in enumerate(lines):
        edge = "+" if row in numbers else "|"
        framed.append(f"{numbers.get(row, ''):>{margin}} {edge}{line}".rstrip())
    axis, under = ["-"] * WIDTH, [" "] * (margin + 2 + WIDTH + 8)
    for x, text in zip(right, tick_texts(right), strict=True):
        axis[canvas.column(x)] = "+" if x else "-"  # the corner has one
        start = margin + 2 + canvas.column(x) - len(text) // 2
        under[start : start + len(text)] = list(text)
    framed += [" " * (margin + 1) + "+" + "".join(axis), "".join(under).rstrip()]
    return [*framed, titles[0].rjust(margin + 2 + WIDTH)]
