"""ControlTokens: finds control tokens in text, and keeps text that only spells one from becoming one."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Any


class ControlTokens:
    """The control tokens of a vocabulary, `texts` mapping the spelling of each to its id."""

    def __init__(self, texts: Mapping[str, int]) -> None:
        self._ids = dict(texts)
        self._sorted = sorted(self._ids)
        self._longest = max(map(len, self._sorted), default=0)
        trie = _trie_pattern(self._sorted) if self._sorted else "(?!)"
        self._token = re.compile(trie)
        self._start = re.compile(f"(?={trie})")  # at every place, overlapping ones included

    def split(self, text: str) -> list[str | int]:
        """Text and ids in order; of two tokens at the same place the longer counts, as in `tokenizers`."""
        parts: list[str | int] = []
        at = 0
        for match in self._token.finditer(text):
            parts += [text[at : match.start()], self._ids[match[0]]]
            at = match.end()
        return [part for part in (*parts, text[at:]) if part != ""]

    def cut(self, text: str) -> list[str]:
        """`text` in pieces that end within everything that could become a control token.

        That is each spelled control token, and an end of the text with which one could begin: what
        follows may complete it; the last piece is empty then. Nearly all text stays in one piece.
        """
        places = {match.start() + 1 for match in self._start.finditer(text)}
        bounds = [0, *sorted(places | self._open_ends(text)), len(text)]
        return [text[start:end] for start, end in zip(bounds, bounds[1:], strict=False)]

    def mark(self, text: str, mark: str) -> str:
        """`text` with `mark` where `cut` would cut it: no control token can come out of it any more."""
        return mark.join(self.cut(text))

    def interior(self, text: str) -> str | None:
        """A control token that has `text` inside, with something before and after it, if there is one."""
        return next((token for token in self._sorted if text in token[1:-1]), None) if text else None

    def _open_ends(self, text: str) -> set[int]:
        first = max(0, len(text) - self._longest + 1)
        return {start + 1 for start in range(first, len(text)) if self._begins(text[start:])}

    def _begins(self, end: str) -> bool:
        place = bisect_left(self._sorted, end)
        return place < len(self._sorted) and self._sorted[place].startswith(end)


def _trie_pattern(words: Iterable[str]) -> str:
    """A regular expression that matches the longest of `words`; their number hardly costs time."""
    trie: dict[str, Any] = {}
    for word in words:
        node = trie
        for char in word:
            node = node.setdefault(char, {})
        node[""] = {}
    return _alternatives(trie)


def _alternatives(node: dict[str, Any]) -> str:
    prefix = ""
    while len(node) == 1 and "" not in node:  # a chain of single characters needs no recursion
        ((char, node),) = node.items()
        prefix += re.escape(char)
    branches = [re.escape(char) + _alternatives(child) for char, child in node.items() if char]
    if not branches:
        return prefix
    return f"{prefix}(?:{'|'.join(branches)}){'?' if '' in node else ''}"
