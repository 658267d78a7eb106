"""Generation without a K/V cache: the baseline that every explanation of the cache begins with.

Keys and values live as long as the pass that made them. As soon as a sequence has its next token it gives up
all its blocks, and the next step computes prompt and answer again. Work per token grows with the length of
the text instead of being one row. Exact, because recomputed keys and values are the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping

from redline.core.drafts import NO_DRAFTS, Drafts
from redline.core.plan import Plan
from redline.core.scheduler import Scheduler
from redline.core.sequence import Status


class NoCacheScheduler(Scheduler):
    """Plans steps like any other; what it counted as computed is forgotten once it led to a token."""

    def update(self, plan: Plan, new_tokens: Mapping[int, int | None], kept: Drafts = NO_DRAFTS) -> None:
        super().update(plan, new_tokens, kept)
        for item in plan.items:
            awaits_others = item.samples and new_tokens.get(item.seq.seq_id) is None  # of its gang
            if item.samples and not awaits_others and item.seq.status is Status.RUNNING:
                self._tables.empty(item.seq)
