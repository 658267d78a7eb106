"""GrammarConstraint: a parser that follows one choice and says which tokens may come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from redline.decoding.structured.constraint import Allowed
from redline.errors import RequestError
from redline.ops.arrays import I32

if TYPE_CHECKING:
    from llguidance import LLMatcher

BITS = 32  # of a word of a mask
MAX_MESSAGE = 300  # characters of what the parser says


class GrammarConstraint:
    """Wraps a matcher, which it owns.

    `param` is the field that a failure names, `failed` hears of one: other parsers of the same grammar share
    its lexer, and what has run into a limit once is not to be shared again.
    """

    active = True

    def __init__(self, matcher: LLMatcher, num_words: int, param: str, failed: Callable[[], None]) -> None:
        self._matcher = matcher
        self._num_words = num_words
        self._param = param
        self._failed = failed
        self._computed: list[Allowed] = []

    @property
    def ended(self) -> bool:
        return self._matcher.is_stopped() and not self._matcher.is_error()

    @property
    def error(self) -> str:
        """What has gone wrong in the parser; empty: nothing."""
        return self._matcher.get_error()

    def forced(self) -> list[int]:
        return self._matcher.compute_ff_tokens()

    def accepts(self, token_ids: Sequence[int]) -> int:
        return self._matcher.validate_tokens(list(token_ids))

    def compute(self, drafts: Sequence[int]) -> None:
        self._computed = [self._mask(self._matcher)]
        if not drafts:
            return
        # On a copy: a draft that leads beyond the parser's limits must not harm a choice that goes elsewhere.
        ahead = self._matcher.deep_copy()
        for token_id in drafts:
            if not ahead.consume_token(token_id):
                break  # it is not going to be drawn, and nobody asks what comes behind it
            self._computed.append(self._mask(ahead))
        self._computed += [self._nothing()] * (1 + len(drafts) - len(self._computed))

    def allowed(self, drafts: Sequence[int]) -> list[Allowed]:
        if len(self._computed) != 1 + len(drafts):
            self.compute(drafts)
        computed, self._computed = self._computed, []
        return computed

    def push(self, token_id: int) -> None:
        self._matcher.consume_token(token_id)  # a failure stays in the matcher, and shows in the next mask

    def copy(self) -> GrammarConstraint:
        return GrammarConstraint(self._matcher.deep_copy(), self._num_words, self._param, self._failed)

    def _mask(self, matcher: LLMatcher) -> Allowed:
        mask_W: I32 = np.zeros(self._num_words, np.int32)
        matcher.unsafe_compute_mask_ptr(mask_W.ctypes.data, mask_W.nbytes)
        if matcher.is_error():  # then it allows the end, which would pass for an answer
            self._failed()
            why = one_line(matcher.get_error())
            return self._nothing(
                RequestError(f"{self._param} cannot be followed any further: {why}", param=self._param)
            )
        return Allowed(mask_W)

    def _nothing(self, failure: RequestError | None = None) -> Allowed:
        return Allowed(np.zeros(self._num_words, np.int32), failure)


def one_line(message: str) -> str:
    """A message of the parser without the state that it may show behind it."""
    text = " ".join(message.partition("\n<")[0].split()).rstrip(".")
    return text if len(text) <= MAX_MESSAGE else text[:MAX_MESSAGE] + "..."
