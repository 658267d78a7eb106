"""When waiting sequences may join the batch.

Continuous batching, the default, lets them in between any two steps (Yu et al., "Orca", OSDI 2022). The two
others are what came before it, here as baselines and for loads that arrive in batches anyway: a batch is
closed when it starts and runs to its end, so everyone in it waits for the longest answer, and everyone
outside for the whole batch. Static batching waits for a full batch, dynamic batching (as in TensorFlow
Serving and Triton) for a full batch or until the first of it has waited for a window of time. Tokens are the
same with each of them.

How a step itself works is the same everywhere: engine/prepare.py (selective batching).
"""

from __future__ import annotations

from itertools import islice
from typing import Protocol

from redline.core.queue import SequenceQueue
from redline.core.sequence import Sequence


class Batching(Protocol):
    """Decides who may join; the scheduler decides in which order, and whether there is room."""

    def open(self, waiting: SequenceQueue, now_s: float) -> None:
        """A step is about to be planned: start a batch if it is time."""

    def admits(self, seq: Sequence) -> bool:
        """Whether a waiting sequence may join now."""

    def forked(self, parent: Sequence, child: Sequence) -> None:
        """`child` belongs where its parent does."""

    def ended(self, seq: Sequence) -> None:
        """A sequence has finished or was aborted."""

    def opens_s(self, waiting: SequenceQueue) -> float | None:
        """When the next batch starts if nothing arrives, by the scheduler's clock; None: it is not closed."""

    def flush(self) -> None:
        """No more will arrive for now: start with what waits."""


class ContinuousBatching:
    """Everyone may join at any time."""

    def open(self, waiting: SequenceQueue, now_s: float) -> None:
        pass

    def admits(self, seq: Sequence) -> bool:
        return True

    def forked(self, parent: Sequence, child: Sequence) -> None:
        pass

    def ended(self, seq: Sequence) -> None:
        pass

    def opens_s(self, waiting: SequenceQueue) -> float | None:
        return None

    def flush(self) -> None:
        pass


class ClosedBatching:
    """Batches of at most `size` sequences, each run to its end; one starts when `size` wait, or the first of
    them has waited `window_s` seconds, or after flush().
    """

    def __init__(self, size: int, window_s: float) -> None:
        self._size = size
        self._window_s = window_s
        self._members: set[int] = set()
        self._flushed = False

    def open(self, waiting: SequenceQueue, now_s: float) -> None:
        if self._members:
            return
        opens_s = self.opens_s(waiting)
        if opens_s is not None and now_s >= opens_s:
            self._members = {seq.seq_id for seq in islice(waiting, self._size)}
        if len(waiting) == len(self._members):
            self._flushed = False

    def admits(self, seq: Sequence) -> bool:
        return seq.seq_id in self._members

    def forked(self, parent: Sequence, child: Sequence) -> None:
        if parent.seq_id in self._members:
            self._members.add(child.seq_id)

    def ended(self, seq: Sequence) -> None:
        self._members.discard(seq.seq_id)

    def opens_s(self, waiting: SequenceQueue) -> float | None:
        if self._members or not len(waiting):
            return None
        arrived_s = min(seq.arrival_s for seq in waiting)
        return arrived_s if self._flushed or len(waiting) >= self._size else arrived_s + self._window_s

    def flush(self) -> None:
        self._flushed = True
