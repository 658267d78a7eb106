"""Detokenizer: the text of a growing list of tokens, never half a character."""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Collection
from typing import Protocol


class TokenText(Protocol):
    """What a Detokenizer asks of a tokenizer."""

    def token_bytes(self, token_id: int) -> bytes: ...

    def is_control(self, token_id: int) -> bool: ...


class Detokenizer:
    """Turns tokens into text one at a time, in time that does not depend on how many came before.

    Tokens are bytes, and a character can be spread over several: what may still become one is held back. All
    text put together is the tokenizer's `decode(ids, skip_special_tokens, continuation=True)`. It continues a
    prompt, so a SentencePiece model's space before the first word is part of it. Special tokens among `keep`
    are text even where the others are skipped.
    """

    def __init__(
        self, tokenizer: TokenText, *, skip_special_tokens: bool = True, keep: Collection[int] = ()
    ) -> None:
        self._tokenizer = tokenizer
        self._skip = skip_special_tokens
        self._keep = keep
        self._utf8 = getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token_id: int) -> str:
        """The text that is certain with this token; often none."""
        if self._skip and self._tokenizer.is_control(token_id) and token_id not in self._keep:
            return ""
        return self._utf8.decode(self._tokenizer.token_bytes(token_id))

    def flush(self) -> str:
        """What is still held back at the end: U+FFFD for half a character, else nothing."""
        return self._utf8.decode(b"", final=True)
