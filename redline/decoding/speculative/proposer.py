"""What proposes drafts: a Proposer for the engine, a Drafter for each sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Drafter(Protocol):
    """Follows one sequence."""

    def extend(self, token_ids: Sequence[int]) -> None:
        """These tokens came next."""

    def propose(self, most: int) -> list[int]:
        """What may come next, at most so many tokens; empty: no idea."""


class Proposer(Protocol):
    """Makes drafters."""

    def start(self, token_ids: Sequence[int], owner: str) -> Drafter:
        """A drafter for a sequence of which these tokens are known. What others own must not show in it."""

    def ended(self, token_ids: Sequence[int], owner: str) -> None:
        """A sequence has ended with this output."""
