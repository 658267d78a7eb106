"""ResponseStore: the latest responses, so that a request can follow one by its id."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from redline.protocol.turns import Turn

MAX_RESPONSES = 1024
MAX_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """`response`: JSON as it was sent. `turns`: the conversation up to and with the answer. `items`: what the
    request brought."""

    response: str
    turns: list[Turn]
    items: tuple[dict[str, Any], ...] = ()

    @property
    def num_bytes(self) -> int:
        """About what it takes."""
        return len(self.response) + sum(len(str(each)) for each in (*self.turns, *self.items))


@dataclass(slots=True)
class _Shelf:
    """What one owner keeps, the least recently used first, each with its size."""

    stored: OrderedDict[str, tuple[StoredResponse, int]] = field(default_factory=OrderedDict)
    num_bytes: int = 0

    def __len__(self) -> int:
        return len(self.stored)

    def put(self, response_id: str, response: StoredResponse) -> None:
        num_bytes = response.num_bytes
        self.stored[response_id] = response, num_bytes
        self.num_bytes += num_bytes

    def remove(self, response_id: str) -> None:
        _, num_bytes = self.stored.pop(response_id)
        self.num_bytes -= num_bytes


class ResponseStore:
    """In memory, and bounded.

    Each response belongs to an `owner`, the name of a key, and is not there for others. When there is no room
    for all, who takes the most of it gives up what they used least recently; so an owner keeps an equal share
    of the room whatever the others do.
    """

    def __init__(self, max_responses: int = MAX_RESPONSES, max_bytes: int = MAX_BYTES) -> None:
        self._max_responses = max_responses
        self._max_bytes = max_bytes
        self._shelves: dict[str, _Shelf] = {}

    def __len__(self) -> int:
        return sum(map(len, self._shelves.values()))

    def get(self, owner: str, response_id: str) -> StoredResponse | None:
        """A response of `owner`; None: it was never here, was deleted, or had to go."""
        shelf = self._shelves.get(owner)
        if shelf is None or response_id not in shelf.stored:
            return None
        shelf.stored.move_to_end(response_id)
        return shelf.stored[response_id][0]

    def put(self, owner: str, response_id: str, stored: StoredResponse) -> None:
        """Keep a response. One that is larger than all there is room for is not kept."""
        if stored.num_bytes > self._max_bytes:
            return
        self._shelves.setdefault(owner, _Shelf()).put(response_id, stored)
        while len(self) > self._max_responses:
            self._give_up(len)
        while sum(shelf.num_bytes for shelf in self._shelves.values()) > self._max_bytes:
            self._give_up(lambda shelf: shelf.num_bytes)

    def delete(self, owner: str, response_id: str) -> None:
        """Forget a response that is here. Those that followed it have the conversation themselves."""
        shelf = self._shelves[owner]
        shelf.remove(response_id)
        if not shelf:
            del self._shelves[owner]

    def _give_up(self, room: Callable[[_Shelf], int]) -> None:
        """The owner who takes the most `room` loses one."""
        owner = max(self._shelves, key=lambda owner: room(self._shelves[owner]))
        self.delete(owner, next(iter(self._shelves[owner].stored)))
