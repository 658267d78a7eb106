"""Speculation in the engine: a drafter for each sequence, and how much of its drafts each step computes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from redline.core.average import smoothed
from redline.core.drafts import NO_BRANCHES, NO_DRAFTS, Branches, Drafts
from redline.core.plan import Plan
from redline.core.scheduler import Scheduler
from redline.core.sequence import Sequence as TokenSequence
from redline.core.sequence import Status
from redline.decoding.speculative.costs import StepCosts
from redline.decoding.speculative.lengths import Draft, draft_lengths
from redline.decoding.speculative.proposer import Drafter, Proposer
from redline.decoding.speculative.tree import FIRST_HIT, Fork, branch_lengths, parting
from redline.decoding.speculative.verify import num_kept

FIRST_CHANCE = 0.5  # that a proposed token is right, before anybody's was
DECAY = 0.9  # of the chance so far, with each token that was right or wrong


# What becomes of guessing in a step in which somebody decodes.
DRAFTED = "drafted"
PROBE = "probe"  # drafted to learn whether it would pay
NO_PROPOSAL = "nothing to propose"
NO_ROOM = "no rows to spare"  # or so few that not even right guesses would pay
NOT_WORTH = "does not pay"
OUTCOMES = (DRAFTED, PROBE, NO_PROPOSAL, NO_ROOM, NOT_WORTH)


LASTING = (DRAFTED, NO_ROOM, NOT_WORTH)  # the others come and go between two of these


class Outcomes:
    """Counts steps by what became of guessing; `last` is the latest, `state` the latest that lasts."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(OUTCOMES, 0)
        self.last = self.state = ""

    def note(self, outcome: str) -> None:
        self.counts[outcome] += 1
        self.last = outcome
        if outcome in LASTING or not self.state:
            self.state = outcome


class Speculation(Protocol):
    """Proposes what the sequences of a step compute ahead."""

    method: str  # empty: none
    outcomes: Outcomes
    branches: Branches  # of those for whom drafts() had drafts

    def drafts(self, seqs: Iterable[TokenSequence]) -> Drafts:
        """Drafts for those of them that decode."""

    def complete(self, plan: Plan, scheduler: Scheduler) -> Plan:
        """The open plan with all its drafts known; its blocks can be written."""

    def computed(self, plan: Plan) -> None:
        """The forward pass of a plan is done, and no token of it sampled."""

    def verified(self, seq: TokenSequence, num_drafts: int, num_right: int, num_kept: int) -> None:
        """Of the drafts of a sequence so many were right, and of them or of a branch so many were kept."""

    def forked(self, parent: TokenSequence, child: TokenSequence) -> None:
        """A new sequence begins as the other one does."""

    def ended(self, seq: TokenSequence) -> None:
        """A sequence will not be seen again."""

    def measured(self, plan: Plan, seconds: float) -> None:
        """The forward pass of a plan took so long, on ways that were trodden before."""


class NoSpeculation:
    """Computes nothing ahead."""

    method = ""
    branches = NO_BRANCHES

    def __init__(self) -> None:
        self.outcomes = Outcomes()

    def drafts(self, seqs: Iterable[TokenSequence]) -> Drafts:
        return NO_DRAFTS

    def complete(self, plan: Plan, scheduler: Scheduler) -> Plan:
        return plan

    def computed(self, plan: Plan) -> None:
        pass

    def verified(self, seq: TokenSequence, num_drafts: int, num_right: int, num_kept: int) -> None:
        pass

    def forked(self, parent: TokenSequence, child: TokenSequence) -> None:
        pass

    def ended(self, seq: TokenSequence) -> None:
        pass

    def measured(self, plan: Plan, seconds: float) -> None:
        pass


class AdaptiveSpeculation:
    """Computes as much of the drafts as pays on this machine, with the tokens that were right lately.

    Every proposal is compared with what came, computed or not, so a proposer that was wrong for a while and
    is right again is noticed at no cost. `max_rows` bounds the rows of a step, `num_branches` the
    continuations that are computed of a sequence.
    """

    def __init__(
        self,
        proposer: Proposer,
        num_speculative_tokens: int,
        max_rows: int,
        method: str = "ngram",
        num_branches: int = 1,
    ) -> None:
        self.method = method
        self.outcomes = Outcomes()
        self.branches: Branches = NO_BRANCHES
        self._num_branches = num_branches
        self._proposer = proposer
        self._num_speculative_tokens = num_speculative_tokens
        self._max_rows = max_rows
        self._costs = StepCosts()
        self._followed: dict[int, _Followed] = {}
        self._chance, self._hit = FIRST_CHANCE, FIRST_HIT  # of sequences that have just begun

    def drafts(self, seqs: Iterable[TokenSequence]) -> Drafts:
        self.branches = NO_BRANCHES
        decoding = [seq for seq in seqs if decodes(seq)]
        if not decoding:
            return NO_DRAFTS
        if not self._lengths([Draft(self._max_rows, 1.0)], len(decoding))[0]:
            self.outcomes.note(NO_ROOM)  # not even if all guesses were right
            return NO_DRAFTS
        proposals = {}
        for seq in decoding:
            followed = self._followed.get(seq.seq_id)
            if followed is None:
                drafter = self._proposer.start(seq.prompt_token_ids, _owner(seq))
                followed = _Followed(drafter, self._chance, self._hit)
                self._followed[seq.seq_id] = followed
            followed.extend(seq.output_token_ids)
            if followed.propose(self._num_speculative_tokens, self._num_branches):
                proposals[seq.seq_id] = followed
        if not proposals:
            self.outcomes.note(NO_PROPOSAL)
            return NO_DRAFTS
        drafts = [Draft(len(each.proposal), each.chance) for each in proposals.values()]
        lengths = self._lengths(drafts, len(decoding))
        self.outcomes.note(DRAFTED if any(lengths) else NOT_WORTH)
        computed = {
            seq_id: each.proposal[:length]
            for (seq_id, each), length in zip(proposals.items(), lengths, strict=True)
            if length
        }
        if self._num_branches > 1 and computed:
            self.branches = self._branch(proposals, computed, len(decoding))
        return computed

    def _branch(self, proposals: dict[int, _Followed], computed: Drafts, num_decodes: int) -> Branches:
        """Of the other continuations those that pay beside the drafts."""
        found = [
            (seq_id, *each) for seq_id in computed for each in proposals[seq_id].forks(len(computed[seq_id]))
        ]
        chances = {seq_id: proposals[seq_id].chance for seq_id in computed}
        expected = num_decodes + sum(
            chances[seq_id] ** place
            for seq_id, draft in computed.items()
            for place in range(1, len(draft) + 1)
        )
        num_rows = num_decodes + sum(map(len, computed.values()))
        lengths = branch_lengths(
            [fork for _, _, fork in found], expected, num_rows, self._max_rows, self._costs.at
        )
        branches: dict[int, list[list[int]]] = {}
        for (seq_id, chain, _), length in zip(found, lengths, strict=True):
            if length:
                branches.setdefault(seq_id, []).append(chain[:length])
        return branches

    def _lengths(self, drafts: list[Draft], num_decodes: int) -> list[int]:
        return draft_lengths(drafts, num_decodes, self._max_rows, self._costs.at)

    def complete(self, plan: Plan, scheduler: Scheduler) -> Plan:
        return plan

    def computed(self, plan: Plan) -> None:
        pass

    def verified(self, seq: TokenSequence, num_drafts: int, num_right: int, num_kept: int) -> None:
        pass  # every proposal is judged by what came, computed or not

    def forked(self, parent: TokenSequence, child: TokenSequence) -> None:
        pass

    def ended(self, seq: TokenSequence) -> None:
        followed = self._followed.pop(seq.seq_id, None)
        if followed is not None:
            self._chance = smoothed(self._chance, followed.chance, DECAY)
            self._hit = smoothed(self._hit, followed.hit, DECAY)
        self._proposer.ended(seq.output_token_ids, _owner(seq))

    def measured(self, plan: Plan, seconds: float) -> None:
        _, num_prompt = plan.composition()
        if not num_prompt:
            self._costs.measured(plan.num_tokens, seconds)


def decodes(seq: TokenSequence) -> bool:
    """Whether only the last token of a sequence is left to compute, and another is to follow it."""
    decoding = seq.status is Status.RUNNING and seq.num_uncomputed_tokens == 1 and seq.generates
    return decoding and seq.params.dola_layer is None  # whose rows are contrasted one by one


def _owner(seq: TokenSequence) -> str:
    return f"{len(seq.tenant)}:{seq.tenant}{seq.salt}"


class _Followed:
    """What is known of one sequence: its drafter, the last proposal, and how often proposals were right.

    `hit`: how often another continuation was right where the proposal was wrong and they part.
    """

    def __init__(self, drafter: Drafter, chance: float, hit: float) -> None:
        self.chance, self.hit = chance, hit
        self.proposal: list[int] = []
        self._others: list[list[int]] = []
        self._drafter = drafter
        self._num_outputs = 0

    def extend(self, output_token_ids: list[int]) -> None:
        """Take in what came since the last time."""
        new = output_token_ids[self._num_outputs :]
        self._num_outputs += len(new)
        self._drafter.extend(new)
        self._judge(new)

    def propose(self, most: int, count: int) -> bool:
        """Make a new proposal, of up to `count` continuations. False: there is none."""
        if count == 1:
            self.proposal = self._drafter.propose(most)
        else:
            self.proposal, *self._others = self._drafter.propose_tree(most, count) or [[]]
        return bool(self.proposal)

    def forks(self, length: int) -> Iterator[tuple[list[int], Fork]]:
        """The other continuations that part from the first tokens of the proposal, `length` of them."""
        for chain in self._others:
            num_shared = parting(self.proposal, chain)
            if num_shared < length:
                yield chain, Fork(num_shared, len(chain), self.chance, self.hit)

    def _judge(self, new: Sequence[int]) -> None:
        draft = self.proposal[: len(new)]
        if not draft:
            return
        num_right = num_kept(draft, new)
        for _ in range(num_right):
            self.chance = smoothed(self.chance, 1.0, DECAY)
        if num_right < len(draft):
            self.chance = smoothed(self.chance, 0.0, DECAY)
            for other in self._others:
                if parting(self.proposal, other) == num_right:
                    self.hit = smoothed(self.hit, float(other[num_right] == new[num_right]), DECAY)
