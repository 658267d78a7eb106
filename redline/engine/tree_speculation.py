"""TreeSpeculation: drafts of a model, and other continuations beside them, as far as they pay."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from redline.core.average import smoothed
from redline.core.drafts import NO_BRANCHES, Drafts
from redline.core.plan import Branch, Plan
from redline.core.scheduler import Scheduler
from redline.core.sequence import Sequence as TokenSequence
from redline.decoding.speculative.proposer import TreeProposer
from redline.decoding.speculative.tree import FIRST_HIT, Fork, branch_lengths
from redline.engine.model_speculation import SHARED_DECAY, UNKNOWN, ModelSpeculation, with_drafts
from redline.engine.speculation import decodes


class TreeSpeculation(ModelSpeculation):
    """Up to `num_branches` continuations of a sequence, which part at the first token."""

    def __init__(
        self,
        proposer: TreeProposer,
        num_speculative_tokens: int,
        max_rows: int,
        method: str,
        num_branches: int,
    ) -> None:
        super().__init__(proposer, num_speculative_tokens, max_rows, method)
        self._trees = proposer
        self._num_branches = num_branches
        self._hit = FIRST_HIT

    def drafts(self, seqs: Iterable[TokenSequence]) -> Drafts:
        decoding = [seq for seq in seqs if decodes(seq)]
        drafts = super().drafts(decoding)
        self.branches = NO_BRANCHES
        if drafts:
            self._branch(drafts, {seq.seq_id: self._chance_of(seq) for seq in decoding})
        return drafts

    def _branch(self, drafts: Drafts, chances: dict[int, float]) -> None:
        """Make room for branches of those who draft."""
        seq_ids = [seq_id for seq_id in drafts for _ in range(self._num_branches - 1)]
        forks = [Fork(0, len(drafts[seq_id]), chances[seq_id], self._hit) for seq_id in seq_ids]
        expected = sum(
            chances[seq_id] ** place for seq_id, draft in drafts.items() for place in range(1, len(draft) + 1)
        )
        num_rows = len(chances) + sum(map(len, drafts.values()))
        lengths = branch_lengths(forks, len(chances) + expected, num_rows, self._max_rows, self._costs.at)
        branches: dict[int, list[tuple[int, ...]]] = {}
        for seq_id, length in zip(seq_ids, lengths, strict=True):
            if length:
                branches.setdefault(seq_id, []).append((UNKNOWN,) * length)
        self.branches = branches

    def complete(self, plan: Plan, scheduler: Scheduler) -> Plan:
        wanted = [(item.seq, len(item.drafts)) for item in plan.items if UNKNOWN in item.drafts]
        self._drafted = {seq.seq_id for seq, _ in wanted}
        if wanted:
            trees = self._trees.propose_trees(wanted, self._num_branches)
            chains = {seq.seq_id: iter(tree) for (seq, _), tree in zip(wanted, trees, strict=True)}
            items = tuple(
                with_drafts(item, next(chains[item.seq.seq_id], [])) if UNKNOWN in item.drafts else item
                for item in plan.items
            )
            branches = [_filled(branch, chains[branch.seq.seq_id]) for branch in plan.branches]
            plan = scheduler.amend(plan, items, branches)
        return plan

    def verified(self, seq: TokenSequence, num_drafts: int, num_right: int, num_kept: int) -> None:
        super().verified(seq, num_drafts, num_right, num_kept)
        if not num_right and seq.seq_id in self.branches:
            self._hit = smoothed(self._hit, float(num_kept > 0), SHARED_DECAY)


def _filled(branch: Branch, chains: Iterator[list[int]]) -> Branch:
    return branch._replace(drafts=tuple(next(chains, [])[: len(branch.drafts)]))
