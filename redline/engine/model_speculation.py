"""ModelSpeculation: drafts of a model, which cost time, as far as they pay."""

from __future__ import annotations

from collections.abc import Iterable

from redline.core.average import smoothed
from redline.core.drafts import NO_BRANCHES, NO_DRAFTS, Branches, Drafts
from redline.core.plan import Plan, PlanItem
from redline.core.scheduler import Scheduler
from redline.core.sequence import Sequence as TokenSequence
from redline.decoding.speculative.costs import StepCosts
from redline.decoding.speculative.depth import NO_DEPTH, Depth, draft_depth
from redline.decoding.speculative.probing import NUM_TOKENS, Probing
from redline.decoding.speculative.proposer import BatchProposer
from redline.engine.speculation import (
    DECAY,
    DRAFTED,
    FIRST_CHANCE,
    NO_ROOM,
    NOT_WORTH,
    PROBE,
    Outcomes,
    decodes,
)

UNKNOWN = -1  # stands in the schedule for a token that is drafted once there are blocks for it
SHARED_DECAY = 0.97  # of the chance of sequences that have just begun


class ModelSpeculation:
    """Asks a proposer for as many tokens as pay, by measured costs of its passes and of steps.

    The scheduler is given the lengths first; the tokens are drafted when their blocks are there. What was not
    drafted cannot be judged, so a proposer that does not pay is probed now and then.
    """

    def __init__(
        self, proposer: BatchProposer, num_speculative_tokens: int, max_rows: int, method: str
    ) -> None:
        self.method = method
        self.outcomes = Outcomes()
        self.branches: Branches = NO_BRANCHES  # see tree_speculation.py
        self._proposer = proposer
        self._most = num_speculative_tokens
        self._max_rows = max_rows
        self._costs = StepCosts()
        self._probing = Probing()
        self._chances: dict[int, float] = {}  # of each sequence, that a draft is right
        self._chance = FIRST_CHANCE  # of those that have just begun
        self._drafted: set[int] = set()  # in this step

    def drafts(self, seqs: Iterable[TokenSequence]) -> Drafts:
        decoding = [seq for seq in seqs if decodes(seq)]
        if not decoding:
            return NO_DRAFTS
        ready = [seq for seq in decoding if seq.num_tokens + self._most < self._proposer.max_context]
        if not ready or len(decoding) >= self._max_rows:
            self.outcomes.note(NO_ROOM)
            return NO_DRAFTS
        ready.sort(key=self._chance_of, reverse=True)
        depth = self._depth([self._chance_of(seq) for seq in ready], len(decoding))
        return {seq.seq_id: (UNKNOWN,) * depth.num_tokens for seq in ready[: depth.num_seqs]}

    def _depth(self, chances: list[float], num_rows: int) -> Depth:
        costs = self._costs.at, self._proposer.costs.at
        depth = draft_depth(chances, self._most, num_rows, self._max_rows, *costs)
        outcome = DRAFTED
        if depth is NO_DEPTH:
            outcome = NOT_WORTH
            if not self._proposer.costs.known or self._probing.due():
                depth, outcome = Depth(1, min(NUM_TOKENS, self._most, self._max_rows - num_rows)), PROBE
        self.outcomes.note(outcome)
        return depth

    def complete(self, plan: Plan, scheduler: Scheduler) -> Plan:
        wanted = [(item.seq, len(item.drafts)) for item in plan.items if UNKNOWN in item.drafts]
        self._drafted = {seq.seq_id for seq, _ in wanted}
        if wanted:
            drafted = iter(self._proposer.propose(wanted))
            items = [
                with_drafts(item, next(drafted)) if UNKNOWN in item.drafts else item for item in plan.items
            ]
            plan = scheduler.amend(plan, tuple(items))
        return plan

    def computed(self, plan: Plan) -> None:
        self._proposer.computed(plan)

    def verified(self, seq: TokenSequence, num_drafts: int, num_right: int, num_kept: int) -> None:
        self._proposer.verified(seq, num_kept)
        if seq.seq_id not in self._drafted:
            return  # a grammar has forced them
        chance = self._chance_of(seq)
        for place in range(min(num_right + 1, num_drafts)):
            right = float(place < num_right)
            chance = smoothed(chance, right, DECAY)
            self._chance = smoothed(self._chance, right, SHARED_DECAY)
        self._chances[seq.seq_id] = chance
        if self.outcomes.last == PROBE and self._proposer.costs.known:
            self._probing.judged(num_right == num_drafts)

    def forked(self, parent: TokenSequence, child: TokenSequence) -> None:
        self._proposer.forked(parent, child)

    def ended(self, seq: TokenSequence) -> None:
        self._chances.pop(seq.seq_id, None)
        self._proposer.ended(seq)

    def measured(self, plan: Plan, seconds: float) -> None:
        _, num_prompt = plan.composition()
        if not num_prompt:
            self._costs.measured(plan.num_tokens, seconds)

    def _chance_of(self, seq: TokenSequence) -> float:
        return self._chances.get(seq.seq_id, self._chance)


def with_drafts(item: PlanItem, drafts: list[int]) -> PlanItem:
    """An item with drafts that are known."""
    return item._replace(num_tokens=1 + len(drafts), drafts=tuple(drafts))
