"""BadWords: a word is cut off before its last token."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Protocol

import numpy as np

from redline.decoding.steps.step import TokensBefore
from redline.ops.arrays import F32


class Speller(Protocol):
    """What spells a word inside a text."""

    def encode_continuation(self, text: str) -> tuple[int, ...]: ...


class BadWords:
    """Rules out the last token of a word where its other tokens have just come, in prompt or answer.

    vLLM's `bad_words`, transformers' `bad_words_ids`. Each word is spelled as the tokenizer would, at the
    beginning and behind a space. Other spellings of the same letters pass, and so does a longer word that
    has a token of its own. A look at the last token finds the words that may end, so their number costs
    nothing.
    """

    def __init__(self, spellings: Iterable[tuple[int, ...]]) -> None:
        spelled = sorted(set(spellings))
        self._single_N = np.array([ids[0] for ids in spelled if len(ids) == 1], np.int64)
        self._by_token_before: dict[int, list[tuple[list[int], int]]] = defaultdict(list)
        for *beginning, last in spelled:
            if beginning:
                self._by_token_before[beginning[-1]].append((beginning, last))
        self._longest = max(map(len, spelled), default=1) - 1

    @classmethod
    def spelled(cls, words: Iterable[str], speller: Speller) -> BadWords:
        """From their letters."""
        spellings = (speller.encode_continuation(text) for word in words for text in _variants(word))
        return cls(ids for ids in spellings if ids)

    def apply(self, logits_V: F32, before: TokensBefore) -> None:
        # A tokenizer may have tokens that the model's matrices do not have.
        logits_V[self._single_N[self._single_N < len(logits_V)]] = -np.inf
        known = before.last(self._longest)
        for beginning, last in self._by_token_before.get(known[-1], ()) if known else ():
            if known[-len(beginning) :] == beginning and last < len(logits_V):
                logits_V[last] = -np.inf

    def fork(self) -> BadWords:
        return self


def _variants(word: str) -> tuple[str, ...]:
    bare = word.lstrip(" ")
    return (bare, " " + bare) if bare else (word,)
