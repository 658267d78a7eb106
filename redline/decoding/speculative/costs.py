"""StepCosts: what a decode step of so many rows costs on this machine, as measured while it runs."""

from __future__ import annotations

from bisect import bisect_left

from redline.core.average import smoothed

DECAY = 0.8  # of the cost so far, with each new measurement
MOST_AT_ONCE = 2.0  # times the cost so far: more is something else that took the machine
FIRST_SLOPE = 0.02  # of a step, for one more row, before anything larger was measured


class StepCosts:
    """Seconds of a step by its rows; between those that were measured, a line, and behind them its end."""

    def __init__(self) -> None:
        self._rows: list[int] = []
        self._seconds: dict[int, float] = {}

    @property
    def known(self) -> bool:
        """Whether anything was measured."""
        return bool(self._rows)

    def measured(self, rows: int, seconds: float) -> None:
        """A step of so many rows took so long."""
        before = self._seconds.get(rows)
        if before is None:
            self._rows.insert(bisect_left(self._rows, rows), rows)
        else:
            seconds = min(seconds, MOST_AT_ONCE * before)
        self._seconds[rows] = smoothed(before, seconds, DECAY)

    def at(self, rows: int) -> float:
        """The seconds that a step of so many rows is taken to cost; 1 before the first measurement."""
        known = self._rows
        if not known:
            return 1.0 + FIRST_SLOPE * (rows - 1)
        place = bisect_left(known, rows)
        if place < len(known) and known[place] == rows:
            return self._seconds[rows]
        if place == 0:
            return self._seconds[known[0]]
        below = known[place - 1]
        start = self._seconds[below]
        if place == len(known):
            return start * (1 + FIRST_SLOPE * (rows - below))
        above = known[place]
        share = (rows - below) / (above - below)
        return start + share * (self._seconds[above] - start)
