"""Which models give way to one that is wanted, and when."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar


class Resident(Protocol):
    """A model in memory, as far as this decision goes. Times are readings of one clock."""

    in_use: int  # requests that hold it
    loaded_s: float  # when it came
    load_s: float  # how long that took
    idle_s: float  # since when nobody has held it

    @property
    def num_bytes(self) -> int:
        """What it takes."""


R = TypeVar("R", bound=Resident)


@dataclass(frozen=True, slots=True)
class Room:
    """What models may take together."""

    num_bytes: int
    max_loaded: int | None

    def holds(self, models: Iterable[Resident]) -> bool:
        """Whether all of them fit at once."""
        sizes = [model.num_bytes for model in models]
        few = self.max_loaded is None or len(sizes) <= self.max_loaded
        return few and sum(sizes) <= self.num_bytes


def leaves_at_s(model: Resident, residency_s: float) -> float:
    """From when on a model gives way to those that do not fit beside it.

    One that is in use stays for `residency_s`, so that two that are wanted all the time take turns no faster.
    One that nobody uses stays for as long as it took to load: whoever keeps it for that long before it is
    needed again has lost at most twice what the best choice would have cost (the ski-rental problem; Karlin,
    Manasse, Rudolph, Sleator: Competitive snoopy caching, 1988).
    """
    at_last_s = model.loaded_s + residency_s
    return at_last_s if model.in_use else min(at_last_s, max(model.idle_s, model.loaded_s) + model.load_s)


def victims(wanted: R, loaded: Sequence[R], staying: Sequence[R], room: Room) -> list[R]:
    """The models of `loaded` that must go before `wanted` fits beside them and those that are `staying`.

    Those that nobody uses go first, the least recently used before the others; then those that have been here
    for longest. Of these none goes without need.
    """
    left = [*staying, wanted, *sorted(loaded, key=_turn_to_go)]
    gone: list[R] = []
    for model in left[len(staying) + 1 :]:
        if room.holds(left):
            break
        left.remove(model)
        gone.append(model)
    for model in list(gone):
        if room.holds([*left, model]):
            gone.remove(model)
            left.append(model)
    return gone


def _turn_to_go(model: Resident) -> tuple[bool, float]:
    return (True, model.loaded_s) if model.in_use else (False, model.idle_s)
