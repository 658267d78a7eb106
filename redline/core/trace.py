"""Trace: what the scheduler decided about whom, in a ring of the latest events.

An event costs a tuple and an append; tokens of a decode have none of their own, the step's event counts them.
What is kept says why a request waited, where its prompt left what was cached, who made it give way:
explain.py turns it into words, engine/chrome_trace.py into a picture. `trace_events=None` puts NullTrace in
its place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple, Protocol

Kind = Literal["queue", "refuse", "admit", "load", "chunk", "preempt", "finish", "evict", "step"]
EVERYONE = -1  # the sequence id of events that are about no single one


class Event(NamedTuple):
    """What happened to a sequence, or to everyone, at a time of the scheduler's clock.

    queue    (prompt tokens, those waiting before it)
    refuse   (blocks missing, blocks that could be had): it was next, and did not fit
    admit    (tokens found in the cache, tokens to compute)
    load     (blocks): they come from slower memory, and count as found
    chunk    (first position, tokens): of a prompt
    preempt  (tokens to compute again, reason)
    finish   (reason, output tokens)
    evict    (blocks): from the prefix index
    step     (decodes, prompt tokens, running, waiting, blocks that could be had)
    """

    time_s: float
    step: int
    seq_id: int
    kind: Kind
    values: tuple[int | str, ...]


class Trace(Protocol):
    """Takes events in."""

    def record(self, seq_id: int, kind: Kind, *values: int | str) -> None:
        """Something happened now, in the step that is being planned or run."""

    def next_step(self) -> None:
        """What comes belongs to another step."""

    def events(self) -> list[Event]:
        """All that are kept, oldest first."""


class NullTrace:
    """Keeps nothing."""

    def record(self, seq_id: int, kind: Kind, *values: int | str) -> None:
        pass

    def next_step(self) -> None:
        pass

    def events(self) -> list[Event]:
        return []


class RingTrace:
    """Keeps the latest `num_events`."""

    def __init__(self, num_events: int, clock: Callable[[], float]) -> None:
        self._events: deque[Event] = deque(maxlen=num_events)
        self._clock = clock
        self._step = 0

    def record(self, seq_id: int, kind: Kind, *values: int | str) -> None:
        self._events.append(Event(self._clock(), self._step, seq_id, kind, values))

    def next_step(self) -> None:
        self._step += 1

    def events(self) -> list[Event]:
        return list(self._events)


def of_sequence(events: Iterable[Event], seq_id: int) -> list[Event]:
    """Those of one sequence."""
    return [event for event in events if event.seq_id == seq_id]
