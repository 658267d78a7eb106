"""What to do when a running sequence needs a block and none can be had.

Preemption (Kwon et al., "vLLM", SOSP 2023): the running sequence that is last in order (of the lowest
priority, the latest arrival) gives up its place and all its blocks and goes back to the waiting queue, first
come, first served in front of everything that arrived after it. It keeps the tokens it produced. Once
readmitted it takes over what the prefix index still has, loads what spilled where that is predicted to be
faster (swapping, offload.py), and computes the rest again as one prompt (recomputing). It buys larger
batches, since nobody reserves memory for the longest answer possible. It hurts when memory is short for long:
the victim's work is done twice. Exact, because recomputed keys and values are the same numbers. Since the
first in order is a victim only when it runs alone, and one sequence alone always fits, the first always
advances: no deadlock, no starvation.
"""

from __future__ import annotations

from collections.abc import Callable

from redline.core.block_tables import BlockTables
from redline.core.queue import SequenceQueue, first_come
from redline.core.sequence import Sequence, Status


class RecomputePreemption:
    """Moves victims from the running to the waiting queue."""

    def __init__(
        self,
        tables: BlockTables,
        waiting: SequenceQueue,
        running: SequenceQueue,
        clock: Callable[[], float],
    ) -> None:
        self.num_preemptions = 0
        self._clock = clock
        self._tables = tables
        self._waiting = waiting
        self._running = running

    def victim(self) -> Sequence:
        """The running sequence that must give way next."""
        return self._running.last

    def may_displace(self, seq: Sequence, by_priority: bool) -> bool:
        """Whether a waiting sequence may take what the last who runs has.

        It may if others of its gang wait for it, and that one came after all of them; or if it is more urgent
        and that counts.
        """
        if not len(self._running):
            return False
        victim = self.victim()
        if seq.is_awaited and victim.gang is not seq.gang and first_come(seq) < first_come(victim):
            return True
        return by_priority and seq.priority < victim.priority

    def preempt(self, seq: Sequence) -> None:
        """Take a running sequence's blocks and let it wait."""
        self._running.remove(seq)
        self._tables.release(seq)
        seq.status = Status.WAITING
        seq.num_preemptions += 1
        seq.preempted_s.append([self._clock()])
        self.num_preemptions += 1
        self._waiting.add(seq)

    def resume(self, seq: Sequence) -> None:
        """It runs, perhaps for the first time."""
        if seq.preempted_s:
            seq.preempted_s[-1].append(self._clock())
