"""Breakers: strings that end a repetition, found in tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

FIRST_LOOK = 256  # tokens whose bytes are put together before those of all are


class TokenBytes(Protocol):
    """What knows the bytes of tokens."""

    def token_bytes(self, token_id: int) -> bytes: ...


class Breakers:
    """Finds strings in the bytes that tokens spell, within a token or across several."""

    def __init__(self, strings: Sequence[str], tokenizer: TokenBytes) -> None:
        self._strings = [string.encode() for string in strings]
        self._tokenizer = tokenizer
        self._holds: dict[int, bool] = {}
        self._longest = max(map(len, self._strings), default=0)

    @property
    def reach(self) -> int:
        """A string that ends in a token begins in one of so many before it, or in itself."""
        return self._longest

    def num_since(self, token_ids: Sequence[int]) -> int:
        """How many tokens are behind the one in which the last of the strings ends; all without one."""
        if not self._strings:
            return len(token_ids)
        if len(token_ids) > FIRST_LOOK and (found := self.num_since(token_ids[-FIRST_LOOK:])) < FIRST_LOOK:
            return found
        spelled = [self._tokenizer.token_bytes(token_id) for token_id in token_ids]
        data = b"".join(spelled)
        end = max((data.rfind(string) + len(string) for string in self._strings if string in data), default=0)
        behind = len(data)
        for num_since, part in enumerate(reversed(spelled)):
            behind -= len(part)
            if behind < end:
                return num_since
        return len(token_ids)

    def holds(self, token_id: int) -> bool:
        """Whether one of the strings is in a token."""
        if token_id not in self._holds:
            data = self._tokenizer.token_bytes(token_id)
            self._holds[token_id] = any(string in data for string in self._strings)
        return self._holds[token_id]
