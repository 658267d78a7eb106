"""Labels: where the name of each point of a plot can stand without covering another one."""

from __future__ import annotations

from collections.abc import Sequence

CHARACTER, LINE = 6.9, 13.0  # width and height of 12 px text, rather too large than too small
POINT = 6.0  # radius of what a label must not cover
Box = tuple[float, float, float, float]  # left, top, right, bottom


class Labels:
    """Gives each label the first free side of its point: left, right, above, below, then the corners.

    Where none is free it takes the first that stays inside, and covers something.
    """

    def __init__(self, area: Box, points: Sequence[tuple[float, float]]) -> None:
        self._area = area
        self._taken: list[Box] = [(x - POINT, y - POINT, x + POINT, y + POINT) for x, y in points]

    def keep_free_of(self, x: float) -> None:
        """No label shall cross the upright line at x."""
        self._taken.append((x - 1, self._area[1], x + 1, self._area[3]))

    def put(self, point: tuple[float, float], text: str, gap: float) -> tuple[float, float, str]:
        """Where to write `text` beside `point`: x, y of its base line, and which end of it stands at x."""
        width = CHARACTER * len(text)
        inside = [side for side in _sides(point, gap) if self._within(_box(side, width))]
        free = [side for side in inside if not any(_overlap(_box(side, width), box) for box in self._taken)]
        chosen = (free or inside or _sides(point, gap))[0]
        self._taken.append(_box(chosen, width))
        return chosen

    def _within(self, box: Box) -> bool:
        left, top, right, bottom = self._area
        return left <= box[0] and top <= box[1] and box[2] <= right and box[3] <= bottom


def _sides(point: tuple[float, float], gap: float) -> list[tuple[float, float, str]]:
    (x, y), near = point, gap * 0.8
    return [
        (x - gap, y + 4, "end"),
        (x + gap, y + 4, "start"),
        (x, y - gap - 2, "middle"),
        (x, y + gap + 11, "middle"),
        (x - near, y - near, "end"),
        (x + near, y + near + 9, "start"),
        (x - near, y + near + 9, "end"),
        (x + near, y - near, "start"),
    ]


def _box(side: tuple[float, float, str], width: float) -> Box:
    x, y, anchor = side
    left = x - {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor] * width
    return left, y - LINE + 3, left + width, y + 3


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
