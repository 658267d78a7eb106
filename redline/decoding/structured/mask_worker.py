"""MaskWorker: masks are computed while the model runs, because they do not depend on its logits.

As in XGrammar (Dong et al., 2024, arXiv:2411.15100). What may come next is settled by the tokens before it.
So the masks of a step are worked out beside its forward pass, in a thread; neither holds Python's lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from redline.decoding.structured.constraint import Constraint

Work = Sequence[tuple[Constraint, Sequence[int]]]  # each with the drafts of the step


class MaskWorker:
    """One thread, started with the first work."""

    def __init__(self) -> None:
        self._threads: ThreadPoolExecutor | None = None
        self._running: Future[None] | None = None

    def start(self, work: Work) -> None:
        """Begin to compute what the constraints will be asked; nobody may use them before wait()."""
        if not work:
            return
        if self._threads is None:
            self._threads = ThreadPoolExecutor(1, thread_name_prefix="redline-masks")
        self._running = self._threads.submit(_compute, work)

    def wait(self) -> None:
        """Until what was begun is done."""
        if self._running is not None:
            self._running.result()
            self._running = None

    def close(self) -> None:
        """End the thread."""
        if self._threads is not None:
            self._threads.shutdown()


def _compute(work: Work) -> None:
    for constraint, drafts in work:
        constraint.compute(drafts)
