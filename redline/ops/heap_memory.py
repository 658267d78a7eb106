"""HeapMemory: how the C library places arrays that come and go, so that holes between them are counted."""

from __future__ import annotations

MAPPED_BYTES = 32 << 20  # an array so large is mapped on its own (csrc/memory.cpp)


class HeapMemory:
    """Best fit: an array takes the smallest hole that holds it, else the end of the heap.

    What was freed stays with the process (redline/ops/memory.py), but for arrays that are mapped alone.
    `peak_bytes`: the most that all of it took.
    """

    def __init__(self) -> None:
        self.peak_bytes = 0
        self._end = 0  # of the heap
        self._holes: dict[int, int] = {}  # start -> bytes
        self._taken: dict[int, int] = {}
        self._mapped: dict[int, int] = {}
        self._num_mapped = 0

    def take(self, num_bytes: int) -> int:
        place = self._map(num_bytes) if num_bytes >= MAPPED_BYTES else self._place(num_bytes)
        self.peak_bytes = max(self.peak_bytes, self._end + sum(self._mapped.values()))
        return place

    def give_back(self, place: int) -> None:
        if place in self._mapped:
            del self._mapped[place]
            return
        num_bytes = self._taken.pop(place)
        if place + num_bytes in self._holes:
            num_bytes += self._holes.pop(place + num_bytes)
        before = next((start for start, size in self._holes.items() if start + size == place), None)
        if before is not None:
            place, num_bytes = before, num_bytes + self._holes.pop(before)
        self._holes[place] = num_bytes

    def _map(self, num_bytes: int) -> int:
        self._num_mapped += 1
        self._mapped[-self._num_mapped] = num_bytes
        return -self._num_mapped

    def _place(self, num_bytes: int) -> int:
        fits = [(size, start) for start, size in self._holes.items() if size >= num_bytes]
        size, start = min(fits) if fits else (0, self._grow())
        self._holes.pop(start, None)
        if size > num_bytes:
            self._holes[start + num_bytes] = size - num_bytes
        self._end = max(self._end, start + num_bytes)
        self._taken[start] = num_bytes
        return start

    def _grow(self) -> int:
        """Where an array goes that no hole holds: to the end, or to a hole there."""
        ends = (start for start, size in self._holes.items() if start + size == self._end)
        return next(ends, self._end)
