"""What a step is, and what it is told."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from redline.decoding.random import Place
from redline.decoding.steps.candidates import Candidates
from redline.ops.arrays import F32


class TokensBefore(NamedTuple):
    """The tokens before the one to be drawn. Lists are those of the sequence: they are read, never changed.

    `drafts`: tokens behind the output that are only guessed; the row is thrown away if one was wrong.
    """

    prompt_token_ids: list[int]
    output_token_ids: list[int]
    drafts: tuple[int, ...] = ()

    def last(self, count: int) -> list[int]:
        """The last `count` of them, fewer if there are not so many."""
        if not count:
            return []
        found = list(self.drafts[-count:])
        for earlier in (self.output_token_ids, self.prompt_token_ids):
            missing = count - len(found)
            found = (earlier[-missing:] if missing else []) + found
        return found


class LogitsStep(Protocol):
    """Changes the logits of a row. What it does depends on the row and the tokens before it alone."""

    def apply(self, logits_V: F32, before: TokensBefore) -> None:
        """In place; -inf rules a token out. Raises RequestError when the request is to blame."""

    def fork(self) -> LogitsStep:
        """The step for another choice of the request, which may remember what came before its own tokens."""


class Truncation(Protocol):
    """Leaves out some of the candidates, never all."""

    def keep(self, candidates: Candidates, place: Place) -> Candidates:
        """Those that may still be drawn."""


class Drawn(NamedTuple):
    """A token, and mirostat's bound on surprise for the next one."""

    token_id: int
    mu: float


class Draw(Protocol):
    """Draws a token of the distribution in its own way."""

    def draw(self, candidates: Candidates, place: Place, mu: float) -> Drawn:
        """`mu`: what the draw of the token before returned, at first 2 tau."""
