"""Trace: what the scheduler decided about whom, in a ring of the latest events.

An event costs one call that packs it into EVENT_BYTES; tokens of a decode have none of their own, the step's
event counts them.
What is kept says why a request waited, where its prompt left what was cached, who made it give way:
explain.py turns it into words, engine/chrome_trace.py into a picture. `trace_events=None` puts NullTrace in
its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from struct import Struct
from typing import Literal, NamedTuple, Protocol, cast, get_args

Kind = Literal[
    "queue",
    "refuse",
    "admit",
    "load",
    "chunk",
    "draft",
    "branch",
    "preempt",
    "finish",
    "evict",
    "step",
    "guess",
]
EVERYONE = -1  # the sequence id of events that are about no single one
MAX_VALUES = 5
# time, step, sequence, kind, how many values, which of them are texts (bits), values
_EVENT = Struct(f"<dIqBBB{MAX_VALUES}i")
EVENT_BYTES = _EVENT.size
_KINDS: tuple[Kind, ...] = get_args(Kind)
_NUMBERS = {kind: number for number, kind in enumerate(_KINDS)}


class Event(NamedTuple):
    """What happened to a sequence, or to everyone, at a time of the scheduler's clock.

    queue    (prompt tokens, those waiting before it)
    refuse   (blocks missing, blocks that could be had): it was next, and did not fit
    admit    (tokens found in the cache, tokens to compute)
    load     (blocks): they come from slower memory, and count as found
    chunk    (first position, tokens): of a prompt
    draft    (tokens that were guessed and computed, those of them that were right)
    branch   (right tokens of a branch alone, right tokens before them): it was right for longer
    preempt  (tokens to compute again, reason)
    finish   (reason, output tokens)
    evict    (blocks): from the prefix index
    step     (decodes, prompt tokens, running, waiting, blocks that could be had)
    guess    (what proposes drafts, what became of that): from this step on
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

    def since(self, number: int, most: int) -> tuple[list[Event], int]:
        """The latest `most` of the events from `number` on, oldest first, and the number of the next one.

        May be called from another thread.
        """


class NullTrace:
    """Keeps nothing."""

    def record(self, seq_id: int, kind: Kind, *values: int | str) -> None:
        pass

    def next_step(self) -> None:
        pass

    def events(self) -> list[Event]:
        return []

    def since(self, number: int, most: int) -> tuple[list[Event], int]:
        return [], 0


class RingTrace:
    """Keeps the latest `num_events`, packed: as tuples they would take six times the memory."""

    def __init__(self, num_events: int, clock: Callable[[], float]) -> None:
        self._capacity = num_events
        self._ring = bytearray(num_events * EVENT_BYTES)  # the system gives it as it fills
        self._num_events = 0  # ever recorded
        self._texts: list[str] = []  # the few reasons there are
        self._numbers: dict[str, int] = {}
        self._clock = clock
        self._step = 0

    def record(self, seq_id: int, kind: Kind, *values: int | str) -> None:
        count, texts = len(values), 0
        numbers = [0] * MAX_VALUES
        for place, value in enumerate(values):
            if isinstance(value, str):
                texts |= 1 << place
                value = self._number(value)
            numbers[place] = value
        at = self._num_events % self._capacity * EVENT_BYTES
        step = self._step & 0xFFFFFFFF
        _EVENT.pack_into(self._ring, at, self._clock(), step, seq_id, _NUMBERS[kind], count, texts, *numbers)
        self._num_events += 1

    def next_step(self) -> None:
        self._step += 1

    def events(self) -> list[Event]:
        total, ring = self._num_events, bytes(self._ring)
        first = max(0, self._num_events - self._capacity)  # another thread may have gone on meanwhile
        return [self._unpack(ring, index % self._capacity * EVENT_BYTES) for index in range(first, total)]

    def since(self, number: int, most: int) -> tuple[list[Event], int]:
        total = self._num_events
        first = max(number, total - min(most, self._capacity))
        places = (index % self._capacity * EVENT_BYTES for index in range(first, total))
        return [self._unpack(self._ring, place) for place in places], total

    def _number(self, text: str) -> int:
        if text not in self._numbers:
            self._texts.append(text)
            self._numbers[text] = len(self._numbers)
        return self._numbers[text]

    def _unpack(self, ring: bytes | bytearray, at: int) -> Event:
        time_s, step, seq_id, kind, count, texts, *numbers = _EVENT.unpack_from(ring, at)
        values = tuple(
            self._texts[number] if texts >> place & 1 else cast(int, number)
            for place, number in enumerate(numbers[:count])
        )
        return Event(time_s, step, seq_id, _KINDS[kind], values)


def of_sequence(events: Iterable[Event], seq_id: int) -> list[Event]:
    """Those of one sequence, and what became of guessing ahead for everyone while it was here."""
    found: list[Event] = []
    guess: Event | None = None  # the latest before it came
    for event in events:
        if event.seq_id == seq_id:
            found += [event] if found or guess is None else [event, guess._replace(time_s=event.time_s)]
        elif event.kind == "guess":
            guess = event
            if found and found[-1].kind != "finish":
                found.append(event)
    return found
