"""What limits the tokens of a choice: a Constraint, or Unconstrained where nothing does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, Self

from redline.errors import RequestError
from redline.ops.arrays import I32


class Allowed(NamedTuple):
    """The tokens that may come at one place: bit i of word w is token 32 * w + i. None: all of them.

    With a `failure` there is none, and that is why.
    """

    mask_W: I32 | None = None
    failure: RequestError | None = None


ANYTHING = Allowed()


class Constraint(Protocol):
    """Follows one choice."""

    active: bool  # False: never limits anything

    @property
    def ended(self) -> bool:
        """Nothing can follow any more."""

    def forced(self) -> list[int]:
        """The next tokens where there is no choice, and as far as that is known; often none."""

    def accepts(self, token_ids: Sequence[int]) -> int:
        """How many of these could come next, one after the other."""

    def compute(self, drafts: Sequence[int]) -> None:
        """Work out what allowed() is going to be asked."""

    def allowed(self, drafts: Sequence[int]) -> list[Allowed]:
        """What may come next, and behind each draft that accepts() counted if those before it come."""

    def push(self, token_id: int) -> None:
        """This token came."""

    def copy(self) -> Self:
        """The same state, to go on from it another way."""


class Unconstrained:
    """Lets everything pass."""

    active = False
    ended = False

    def forced(self) -> list[int]:
        return []

    def accepts(self, token_ids: Sequence[int]) -> int:
        return len(token_ids)

    def compute(self, drafts: Sequence[int]) -> None:
        pass

    def allowed(self, drafts: Sequence[int]) -> list[Allowed]:
        return [ANYTHING] * (1 + len(drafts))

    def push(self, token_id: int) -> None:
        pass

    def copy(self) -> Self:
        return self


UNCONSTRAINED = Unconstrained()
