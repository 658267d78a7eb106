"""TokenizerParts: what a checkpoint says about its tokenizer, whichever file it came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tokenizers import Tokenizer as Backend

Spelling = Literal["byte_level", "sentencepiece"]  # how a vocabulary entry writes its bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerParts:
    """The input of Tokenizer.

    `control` maps the text of each control token to its id: it is recognised only where the caller says so
    and left out of plain text. `literal_ids` are the ids whose text stands for itself, control ones included.
    `unknown_ids` are the control tokens that stand for text the vocabulary cannot spell. `prefix_ids` and
    `suffix_ids` are put around a prompt.
    """

    backend: Backend
    source: str  # named in error messages
    spelling: Spelling
    control: dict[str, int]
    literal_ids: frozenset[int]
    bos_token_id: int | None = None
    eos_token_ids: frozenset[int] = frozenset()
    unknown_ids: frozenset[int] = frozenset()
    prefix_ids: tuple[int, ...] = ()
    suffix_ids: tuple[int, ...] = ()
    strips_leading_space: bool = False  # a text starts with a space that its author did not write
    spaces_first_only: bool = False  # the backend puts it before a whole text, not after control tokens too
    chat_template: str | None = None
    template_tokens: dict[str, str] = field(default_factory=dict)  # bos_token, eos_token ... for the template
