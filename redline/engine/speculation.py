"""Speculation in the engine: a drafter for each sequence, and how much of its drafts each step computes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from redline.core.average import smoothed
from redline.core.drafts import NO_DRAFTS, Drafts
from redline.core.plan import Plan
from redline.core.sequence import Sequence as TokenSequence
from redline.core.sequence import Status
from redline.decoding.speculative.costs import StepCosts
from redline.decoding.speculative.lengths import Draft, draft_lengths
from redline.decoding.speculative.proposer import Drafter, Proposer
from redline.decoding.speculative.verify import num_kept

FIRST_CHANCE = 0.5  # that a proposed token is right, before anybody's was
DECAY = 0.9  # of the chance so far, with each token that was right or wrong


class Speculation(Protocol):
    """Proposes what the sequences of a step compute ahead."""

    def drafts(self, seqs: Iterable[TokenSequence]) -> Drafts:
        """Drafts for those of them that decode."""

    def ended(self, seq: TokenSequence) -> None:
        """A sequence will not be seen again."""

    def measured(self, plan: Plan, seconds: float) -> None:
        """The forward pass of a plan took so long, on ways that were trodden before."""


class NoSpeculation:
    """Computes nothing ahead."""

    def drafts(self, seqs: Iterable[TokenSequence]) -> Drafts:
        return NO_DRAFTS

    def ended(self, seq: TokenSequence) -> None:
        pass

    def measured(self, plan: Plan, seconds: float) -> None:
        pass


class AdaptiveSpeculation:
    """Computes as much of the drafts as pays on this machine, with the tokens that were right lately.

    Every proposal is compared with what came, computed or not, so a proposer that was wrong for a while and
    is right again is noticed at no cost. `max_rows` bounds the rows of a step.
    """

    def __init__(self, proposer: Proposer, max_draft_tokens: int, max_rows: int) -> None:
        self._proposer = proposer
        self._max_draft_tokens = max_draft_tokens
        self._max_rows = max_rows
        self._costs = StepCosts()
        self._followed: dict[int, _Followed] = {}
        self._chance = FIRST_CHANCE  # of sequences that have just begun

    def drafts(self, seqs: Iterable[TokenSequence]) -> Drafts:
        decoding = [seq for seq in seqs if seq.status is Status.RUNNING and seq.num_uncomputed_tokens == 1]
        if not self._lengths([Draft(self._max_rows, 1.0)], len(decoding))[0]:
            return NO_DRAFTS  # not even if all guesses were right
        proposals = {}
        for seq in decoding:
            followed = self._followed.get(seq.seq_id)
            if followed is None:
                drafter = self._proposer.start(seq.prompt_token_ids, _owner(seq))
                followed = _Followed(drafter, self._chance)
                self._followed[seq.seq_id] = followed
            followed.extend(seq.output_token_ids)
            if followed.propose(self._max_draft_tokens):
                proposals[seq.seq_id] = followed
        if not proposals:
            return NO_DRAFTS
        drafts = [Draft(len(each.proposal), each.chance) for each in proposals.values()]
        lengths = self._lengths(drafts, len(decoding))
        return {
            seq_id: each.proposal[:length]
            for (seq_id, each), length in zip(proposals.items(), lengths, strict=True)
            if length
        }

    def _lengths(self, drafts: list[Draft], num_decodes: int) -> list[int]:
        return draft_lengths(drafts, num_decodes, self._max_rows, self._costs.at)

    def ended(self, seq: TokenSequence) -> None:
        followed = self._followed.pop(seq.seq_id, None)
        if followed is not None:
            self._chance = smoothed(self._chance, followed.chance, DECAY)
        self._proposer.ended(seq.output_token_ids, _owner(seq))

    def measured(self, plan: Plan, seconds: float) -> None:
        _, num_prompt = plan.composition()
        if not num_prompt:
            self._costs.measured(plan.num_tokens, seconds)


def _owner(seq: TokenSequence) -> str:
    return f"{len(seq.tenant)}:{seq.tenant}{seq.salt}"


class _Followed:
    """What is known of one sequence: its drafter, the last proposal, and how often proposals were right."""

    def __init__(self, drafter: Drafter, chance: float) -> None:
        self.chance = chance
        self.proposal: list[int] = []
        self._drafter = drafter
        self._num_outputs = 0

    def extend(self, output_token_ids: list[int]) -> None:
        """Take in what came since the last time."""
        new = output_token_ids[self._num_outputs :]
        self._num_outputs += len(new)
        self._drafter.extend(new)
        self._judge(new)

    def propose(self, most: int) -> bool:
        """Make a new proposal. False: there is none."""
        self.proposal = self._drafter.propose(most)
        return bool(self.proposal)

    def _judge(self, new: Sequence[int]) -> None:
        draft = self.proposal[: len(new)]
        if not draft:
            return
        num_right = num_kept(draft, new)
        for _ in range(num_right):
            self.chance = smoothed(self.chance, 1.0, DECAY)
        if num_right < len(draft):
            self.chance = smoothed(self.chance, 0.0, DECAY)
