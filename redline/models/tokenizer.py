"""Tokenizer: text to token ids and back, from tokenizer.json or from GGUF metadata."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

from redline.errors import ModelFileError, RequestError
from redline.models.control_tokens import ControlTokens
from redline.models.token_bytes import byte_level_bytes, sentencepiece_bytes
from redline.models.tokenizer_gguf import parts_from_gguf
from redline.models.tokenizer_json import parts_from_dir
from redline.models.tokenizer_parts import TokenizerParts

_GUARD = "\n"  # never merges with what follows it; keeps a leading space from being put before a piece

MAX_REMEMBERED = 4096  # texts of encode_continuation


class Tokenizer:
    """Text to token ids and back.

    Decoding joins the bytes of the tokens and reads them as UTF-8, a broken sequence as U+FFFD: the text of a
    list of tokens is the text of its parts put together. Safe to use from several threads.
    """

    def __init__(self, parts: TokenizerParts) -> None:
        self._parts = parts
        self._backend = parts.backend
        self._spell = byte_level_bytes if parts.spelling == "byte_level" else sentencepiece_bytes
        self._control_ids = frozenset(parts.control.values())
        self._forbidden_ids = self._control_ids - parts.unknown_ids  # in plain text
        self._continuations = lru_cache(MAX_REMEMBERED)(self._encode_continuation)
        self._mode = Lock()  # held while the backend is set to read or not to read control tokens
        added = self._backend.get_added_tokens_decoder()
        self.vocab_size: int = max(self._backend.get_vocab_size(False), max(added, default=-1) + 1)
        self.bos_token_id: int | None = parts.bos_token_id
        self.eos_token_ids: frozenset[int] = parts.eos_token_ids
        self.prefix_ids: list[int] = list(parts.prefix_ids)  # what the model wants before every prompt
        self.chat_template: str | None = parts.chat_template
        self.template_tokens: Mapping[str, str] = parts.template_tokens

    @classmethod
    def from_dir(cls, path: Path) -> Tokenizer:
        """Read tokenizer.json and the settings beside it. Raises ModelFileError, UnsupportedModel."""
        return cls(parts_from_dir(path))

    @classmethod
    def from_gguf(cls, metadata: Mapping[str, Any]) -> Tokenizer:
        """Build from the `tokenizer.*` keys of a GGUF file. Raises ModelFileError, UnsupportedModel."""
        return cls(parts_from_gguf(metadata))

    def encode(self, text: str, add_special_tokens: bool = True, *, parse_special: bool = False) -> list[int]:
        """Token ids of `text`, with what the model wants before and after a prompt (its BOS) when asked for.

        A control token spelled in `text` is plain text unless `parse_special`. Raises RequestError for text
        that is not valid Unicode.
        """
        ids = self._encode(text, parse_special=True) if parse_special else self._encode_plain(text)
        return [*self.prefix_ids, *ids, *self._parts.suffix_ids] if add_special_tokens else ids

    def encode_continuation(self, text: str) -> tuple[int, ...]:
        """Token ids of a short text that comes behind other text: with nothing put before it.

        The latest are remembered: lists of bad words are the same in every request.
        """
        return self._continuations(text)

    def encode_marked(self, text: str, mark: str) -> list[int]:
        """Token ids of a rendered template in which `mark` breaks every control token that is not one.

        See ControlTokens.mark. The marks leave no trace: the text between two real control tokens is
        tokenised in one piece, so only a spelled control token makes a difference to unmarked text.
        """
        ids: list[int] = []
        for part in self.control_tokens.split(text):
            if isinstance(part, int):
                ids.append(part)
            else:
                ids += self._encode_plain(part.replace(mark, ""), first=not ids)
        return ids

    def decode(
        self, token_ids: Iterable[int], skip_special_tokens: bool = True, *, continuation: bool = False
    ) -> str:
        """The text of `token_ids`. An id beyond the vocabulary, as padded models can produce, has no text.

        SentencePiece models put a space before a text; it is taken away again unless the ids are a
        `continuation` of others, where the space separates words.
        """
        skip = self._control_ids if skip_special_tokens else frozenset()
        raw = b"".join(self.token_bytes(token_id) for token_id in token_ids if token_id not in skip)
        text = raw.decode("utf-8", errors="replace")
        strip = self._parts.strips_leading_space and not continuation
        return text.removeprefix(" ") if strip else text

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token adds to a text: part of a character, a character or many."""
        token = self.id_to_token(token_id)
        if token is None:
            return b""
        return token.encode() if token_id in self._parts.literal_ids else self._spell(token)

    def id_to_token(self, token_id: int) -> str | None:
        """The vocabulary's own spelling of a token, None beyond the vocabulary."""
        if token_id < 0:
            raise RequestError(f"token id {token_id} is negative; ids lie in 0..{self.vocab_size - 1}")
        token: str | None = self._backend.id_to_token(token_id)
        return token

    def token_to_id(self, token: str) -> int | None:
        """The id of a token in the vocabulary's own spelling."""
        token_id: int | None = self._backend.token_to_id(token)
        return token_id

    def has_vocabulary_of(self, other: Tokenizer) -> bool:
        """Whether every id stands for the same token in both."""
        ours, theirs = (each._backend.get_vocab(with_added_tokens=True) for each in (self, other))
        same: bool = ours == theirs
        return same

    def is_control(self, token_id: int) -> bool:
        """Whether a token steers the model and is no part of its text."""
        return token_id in self._control_ids

    @cached_property
    def control_tokens(self) -> ControlTokens:
        """The control tokens by their spelling."""
        try:
            return ControlTokens(self._parts.control)
        except RecursionError:
            raise ModelFileError(
                f"{self._parts.source}: the control tokens are prefixes of each other to an absurd depth"
            ) from None

    def _encode_plain(self, text: str, *, first: bool = True) -> list[int]:
        """Text in which nothing is a control token; `first` in a prompt, or after others.

        Some vocabularies arrive at a control token without recognising it as one. Its spelling is then cut.
        """
        ids = self._encode_piece(text, first)
        if self._forbidden_ids.isdisjoint(ids):
            return ids
        pieces = self.control_tokens.cut(text)
        return [i for n, piece in enumerate(pieces) for i in self._encode_piece(piece, first and not n)]

    def _encode_piece(self, text: str, first: bool) -> list[int]:
        """A piece of a text; the backend would take each for the first one and put a space before it."""
        if first or not self._parts.spaces_first_only or not text:
            return self._encode(text, parse_special=False)
        return self._encode_behind(_GUARD, text)

    def _encode_continuation(self, text: str) -> tuple[int, ...]:
        ids = self._encode_plain(text, first=False)
        spelled = self.decode(ids, skip_special_tokens=False, continuation=True)
        if spelled == " " + text:  # some put a space before every piece of text
            ids = self._encode_behind("x" if text[:1].isspace() else _GUARD, text)
        return tuple(ids)

    def _encode_behind(self, guard: str, text: str) -> list[int]:
        before = self._encode(guard, parse_special=False)
        ids = self._encode(guard + text, parse_special=False)
        return ids[len(before) :] if ids[: len(before)] == before else ids

    def _encode(self, text: str, *, parse_special: bool) -> list[int]:
        try:
            with self._mode:
                self._backend.encode_special_tokens = not parse_special
                # A batch of one: encode() holds the interpreter's lock, for a second where the text is long.
                ids: list[int] = self._backend.encode_batch_fast([text], add_special_tokens=False)[0].ids
        except TypeError:  # what the backend makes of a lone surrogate
            raise RequestError(_why_not_text(text)) from None
        return ids


def _why_not_text(text: object) -> str:
    if not isinstance(text, str):
        return f"the text is {type(text).__name__}; it must be a string"
    place = next((place for place, char in enumerate(text) if "\ud800" <= char <= "\udfff"), None)
    return f"the text is not valid Unicode: character {place} is a lone surrogate"
