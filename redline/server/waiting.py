"""WaitingRoom: how many prompts, and tokens of them, may wait for their first token."""

from __future__ import annotations

from asyncio import TimerHandle
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from redline.server.authentication import ANYONE
from redline.server.errors import HTTPError, too_many
from redline.server.keys import ApiKey
from redline.server.start_rate import StartRate


class Place:
    """The prompts of one request that still wait."""

    def __init__(self, room: WaitingRoom, count: int, caller: ApiKey) -> None:
        self._room = room
        self._caller = caller
        self._tokens = dict.fromkeys(range(count), 0)  # of the prompts that wait
        self.late: TimerHandle | None = None  # ends the request, unless a prompt starts

    def weigh(self, counts: list[int]) -> None:
        """Say how many tokens each prompt has. Raises HTTPError 429 when they are too many."""
        assert len(counts) == len(self._tokens), f"{counts = } {self._tokens = }"
        self._room.add_tokens(sum(counts), self._caller)
        self._tokens = dict(enumerate(counts))

    def started(self, prompt: int) -> None:
        """Prompt number `prompt` has its first token; it may be said again."""
        if self.late is not None:
            self.late.cancel()
            self.late = None
        if prompt in self._tokens:
            self._room.remove(1, self._tokens.pop(prompt), self._caller)
            self._room.rate.started()

    def leave(self) -> None:
        """The request is over, whatever became of it."""
        self._room.remove(len(self._tokens), sum(self._tokens.values()), self._caller)
        self._tokens.clear()


class WaitingRoom:
    """Bounds the work that is accepted before it starts, so that overload is refused at once.

    The counts are kept here, not read from the engine, because a burst of requests must see each other. An
    empty room takes any request: one with more prompts or tokens than there is room for could never be served
    else; and what is refused is told when about half of the queue will be gone.
    """

    def __init__(
        self, max_waiting: int, max_tokens: int | None = None, rate: StartRate | None = None
    ) -> None:
        self._max_waiting = max_waiting
        self._max_tokens = max_tokens
        self.rate = rate or StartRate()
        self.num_waiting = 0
        self.num_tokens = 0
        self._tokens_of: Counter[str] = Counter()  # by the name of the key

    def check(self, count: int, caller: ApiKey = ANYONE) -> None:
        """Raises HTTPError 429 when `count` more prompts are too many, or no token more is accepted."""
        if self.num_waiting and self.num_waiting + count > self._max_waiting:
            raise self._full(
                f"{self.num_waiting} prompts are waiting already and at most {self._max_waiting} may"
            )
        self._check_tokens(1, caller)

    @contextmanager
    def enter(self, count: int, caller: ApiKey = ANYONE) -> Iterator[Place]:
        """A place for `count` prompts of one request. Raises HTTPError 429."""
        self.check(count, caller)
        self.num_waiting += count
        place = Place(self, count, caller)
        try:
            yield place
        finally:
            place.leave()

    def add_tokens(self, count: int, caller: ApiKey) -> None:
        """Count tokens that wait. Raises HTTPError 429 when they are too many, in all or of this caller."""
        self._check_tokens(count, caller)
        self.num_tokens += count
        self._tokens_of[caller.name] += count

    def remove(self, num_prompts: int, num_tokens: int, caller: ApiKey) -> None:
        """They wait no more."""
        self.num_waiting -= num_prompts
        self.num_tokens -= num_tokens
        self._tokens_of[caller.name] -= num_tokens
        if not self._tokens_of[caller.name]:
            del self._tokens_of[caller.name]

    def _check_tokens(self, count: int, caller: ApiKey) -> None:
        own = self._tokens_of[caller.name]
        if _exceeds(own, count, caller.max_queued_tokens):
            raise self._full(
                f"{own} tokens of your prompts are waiting already and at most {caller.max_queued_tokens} may"
            )
        if _exceeds(self.num_tokens, count, self._max_tokens):
            raise self._full(
                f"{self.num_tokens} tokens of prompts are waiting already and at most {self._max_tokens} may"
            )

    def _full(self, reason: str) -> HTTPError:
        return too_many(reason, "queue_full", self.rate.wait_s((self.num_waiting + 1) // 2))


def _exceeds(present: int, more: int, limit: int | None) -> bool:
    return limit is not None and present > 0 and present + more > limit
