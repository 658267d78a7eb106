"""What proposes drafts: a Proposer with a Drafter for each sequence, or a BatchProposer for all at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from redline.core.plan import Plan
from redline.core.sequence import Sequence as TokenSequence
from redline.decoding.speculative.costs import StepCosts


class Drafter(Protocol):
    """Follows one sequence."""

    def extend(self, token_ids: Sequence[int]) -> None:
        """These tokens came next."""

    def propose(self, most: int) -> list[int]:
        """What may come next, at most so many tokens; empty: no idea."""

    def propose_tree(self, most: int, count: int) -> list[list[int]]:
        """The chain of propose(), and up to `count` in all that part from it; empty: no idea."""


class Proposer(Protocol):
    """Makes drafters."""

    def start(self, token_ids: Sequence[int], owner: str) -> Drafter:
        """A drafter for a sequence of which these tokens are known. What others own must not show in it."""

    def ended(self, token_ids: Sequence[int], owner: str) -> None:
        """A sequence has ended with this output."""


class BatchProposer(Protocol):
    """Drafts for many sequences in passes of a model, which cost time.

    Each step calls propose(), if anybody drafts, then computed(), and verified() for each of the drafts.
    Whoever keeps nothing from step to step leaves out the methods that only tell something.
    """

    max_context: int  # tokens of a sequence, drafts included
    costs: StepCosts  # of a pass, by sequences

    def propose(self, wanted: Sequence[tuple[TokenSequence, int]]) -> list[list[int]]:
        """For each sequence what may come next, at most so many tokens; empty: not ready for it.

        Their blocks reach behind the drafts. All tokens but the last are in the model's cache.
        """

    def computed(self, plan: Plan) -> None:
        """The step has computed this; its tokens are not sampled yet."""
        return

    def verified(self, seq: TokenSequence, num_right: int) -> None:
        """So many of the drafts of a sequence came."""
        return

    def forked(self, parent: TokenSequence, child: TokenSequence) -> None:
        """A new sequence begins as the other one does."""
        return

    def ended(self, seq: TokenSequence) -> None:
        """A sequence will not be seen again."""
        return


class TreeProposer(BatchProposer, Protocol):
    """One that knows more than one continuation."""

    def propose_trees(self, wanted: Sequence[tuple[TokenSequence, int]], count: int) -> list[list[list[int]]]:
        """As propose(), up to `count` chains each: its own, then others that begin with other tokens."""
