"""The model's tokens as the parser wants them: the bytes of each, and how a text is tokenised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from redline.errors import RequestError

if TYPE_CHECKING:
    from llguidance import LLTokenizer

WINDOW = (
    1024  # characters of a forced text that are tokenised at a time: a long one costs no more than a word
)
UNCERTAIN = 8  # last tokens of a window, which might be others if the text went on


class TokenBytes(Protocol):
    """What is asked of a tokenizer."""

    eos_token_ids: frozenset[int]

    def token_bytes(self, token_id: int) -> bytes: ...

    def is_control(self, token_id: int) -> bool: ...

    def encode_continuation(self, text: str) -> Sequence[int]: ...


class Vocabulary:
    """The tokens of a tokenizer that the model has a row for: `size` of them."""

    def __init__(self, tokenizer: TokenBytes, size: int) -> None:
        self._tokenizer = tokenizer
        self.size = size

    @cached_property
    def parser_tokens(self) -> LLTokenizer:
        """For the parser; takes 0.3 s for 50,000 tokens. Raises RequestError when none ends an answer."""
        from llguidance import LLTokenizer, TokenizerWrapper

        ends = sorted(end for end in self._tokenizer.eos_token_ids if end < self.size)
        if not ends:
            raise RequestError(
                "this model names no end-of-sequence token, and a structured output ends with one; "
                "leave structured_outputs out",
                param="structured_outputs",
            )
        tokens = _Tokens(self._tokenizer, self.size, ends[0])
        parser_tokens = LLTokenizer(TokenizerWrapper(tokens), eos_token=ends)
        tokens.spell = parser_tokens.greedy_tokenize
        return parser_tokens

    def has_control_token(self, text: str) -> bool:
        """Whether a token that is no part of a text is spelled like this."""
        return text in self._control_texts

    @cached_property
    def _control_texts(self) -> frozenset[str]:
        ids = (token_id for token_id in range(self.size) if self._tokenizer.is_control(token_id))
        return frozenset(self._tokenizer.token_bytes(token_id).decode(errors="replace") for token_id in ids)


class _Tokens:
    """The attributes that llguidance reads."""

    bos_token_id = None

    def __init__(self, tokenizer: TokenBytes, size: int, end: int) -> None:
        self._tokenizer = tokenizer
        self.eos_token_id = end
        self.tokens = [tokenizer.token_bytes(token_id) for token_id in range(size)]
        self.special_token_ids = [token_id for token_id in range(size) if tokenizer.is_control(token_id)]
        self.spell: Callable[[str], list[int]] | None = None  # tokens with the very bytes of a text

    def __call__(self, text: str | bytes) -> list[int]:
        """Tokens of a text that is forced, or of its beginning."""
        text = text.decode() if isinstance(text, bytes) else text
        window = text[:WINDOW]
        ids = list(self._tokenizer.encode_continuation(window))
        if self.spell and b"".join([self.tokens[token_id] for token_id in ids]) != window.encode():
            ids = self.spell(window)  # the tokenizer normalises, and this text is not in its normal form
        return ids[:-UNCERTAIN] if len(text) > WINDOW else ids
