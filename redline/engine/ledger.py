"""Ledger: every request that arrives ends in exactly one way, and the times agree with the counts.

Two laws hold for any queue, whatever its policy, and a leak breaks them: arrived = finished + aborted +
refused + in flight, and Little's law (Little, 1961), by which the mean number in the house is the rate of
arrival times the mean time spent there. The two sides of the latter are summed up independently here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

End = Literal["finished", "aborted", "refused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Of requests, since the start. `elapsed_s` seconds have passed since the first arrival."""

    arrived: int = 0
    finished: int = 0
    aborted: int = 0  # by the client, or by an error
    refused: int = 0
    in_flight: int = 0  # waiting or running
    elapsed_s: float = 0.0
    mean_in_flight: float = 0.0  # over that time
    mean_s: float = 0.0  # that a request has spent here so far, ended or not

    @property
    def arrivals_per_s(self) -> float:
        return self.arrived / self.elapsed_s if self.elapsed_s else 0.0

    def check(self) -> None:
        """Assert both laws."""
        ended = self.finished + self.aborted + self.refused
        assert self.arrived == ended + self.in_flight, f"a request was lost or counted twice: {self}"
        expected = self.arrivals_per_s * self.mean_s
        assert abs(self.mean_in_flight - expected) <= 1e-6 * (1 + expected), f"{expected = } {self}"


class Ledger:
    """Counts in, counts out; any thread may call."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._ends: dict[End, int] = {"finished": 0, "aborted": 0, "refused": 0}
        self._arrived = self._in_flight = 0
        self._start_s = self._changed_s = 0.0
        self._area = 0.0  # requests in flight, integrated over time
        self._spent_s = self._sum_of_starts_s = 0.0  # of requests that ended, and of those that did not

    def arrive(self) -> float:
        """Count an arrival; returns what end() takes."""
        with self._lock:
            now_s = self._advance()
            self._arrived += 1
            self._in_flight += 1
            self._sum_of_starts_s += now_s - self._start_s
            return now_s

    def end(self, how: End, arrived_s: float) -> None:
        """Count the end of a request, once."""
        with self._lock:
            now_s = self._advance()
            self._ends[how] += 1
            self._in_flight -= 1
            self._sum_of_starts_s -= arrived_s - self._start_s
            self._spent_s += now_s - arrived_s

    def refuse(self) -> None:
        """Count a request that goes as it comes."""
        self.end("refused", self.arrive())

    def counts(self) -> Counts:
        """All of it now."""
        with self._lock:
            now_s = self._advance()
            elapsed_s = now_s - self._start_s
            unfinished_s = self._in_flight * elapsed_s - self._sum_of_starts_s
            spent_s = self._spent_s + unfinished_s
            return Counts(
                arrived=self._arrived,
                in_flight=self._in_flight,
                elapsed_s=elapsed_s,
                mean_in_flight=self._area / elapsed_s if elapsed_s else 0.0,
                mean_s=spent_s / self._arrived if self._arrived else 0.0,
                **self._ends,
            )

    def _advance(self) -> float:
        now_s = self._clock()
        if not self._arrived:
            self._start_s = self._changed_s = now_s
        self._area += self._in_flight * (now_s - self._changed_s)
        self._changed_s = now_s
        return now_s
