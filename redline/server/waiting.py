"""WaitingRoom: how many prompts may wait for their first token."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from redline.errors import QueueFull


class Place:
    """The prompts of one request that still wait."""

    def __init__(self, room: WaitingRoom, count: int) -> None:
        self._room = room
        self._waiting = set(range(count))

    def started(self, prompt: int) -> None:
        """Prompt number `prompt` has its first token; it may be said again."""
        if prompt in self._waiting:
            self._waiting.remove(prompt)
            self._room.num_waiting -= 1

    def leave(self) -> None:
        """The request is over, whatever became of it."""
        self._room.num_waiting -= len(self._waiting)
        self._waiting.clear()


class WaitingRoom:
    """Bounds the work that is accepted before it starts, so that overload is refused at once.

    The count is kept here, not read from the engine, because a burst of requests must see each other.
    """

    def __init__(self, max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self.num_waiting = 0

    def check(self, count: int) -> None:
        """Raises QueueFull when `count` more prompts are too many."""
        if self.num_waiting and self.num_waiting + count > self._max_waiting:
            raise QueueFull(
                f"{self.num_waiting} prompts are waiting already and at most {self._max_waiting} may; "
                "try again later"
            )

    @contextmanager
    def enter(self, count: int) -> Iterator[Place]:
        """A place for `count` prompts of one request. Raises QueueFull.

        An empty room takes any request: one with more prompts than places could never be served else.
        """
        self.check(count)
        self.num_waiting += count
        place = Place(self, count)
        try:
            yield place
        finally:
            place.leave()
