"""SpeculativeConfig: which proposer guesses tokens ahead, and how far."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, Self

from redline.config.checks import check_count
from redline.errors import ConfigError

METHODS = ("ngram", "history")
MAX_DRAFT_TOKENS = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeculativeConfig:
    """Guess up to `max_draft_tokens` tokens and compute those that pay (decoding/speculative/).

    ngram: what followed the last `max_match` tokens when they stood here before, else fewer of them, down to
    `min_match`. history: the same, also in the last `history_tokens` tokens of earlier answers to the tenant.
    Raises ConfigError.
    """

    method: Literal["ngram", "history"]
    max_draft_tokens: int = 15
    min_match: int = 2
    max_match: int = 4
    history_tokens: int = 32_768  # of the answers to each tenant

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ConfigError(
                f"speculative method is {self.method!r}; it must be one of {', '.join(METHODS)}, or "
                "speculative None for none"
            )
        for name, low, high in (
            ("max_draft_tokens", 1, MAX_DRAFT_TOKENS),
            ("min_match", 1, 16),
            ("max_match", 1, 16),
            ("history_tokens", 16, 2**20),
        ):
            check_count(f"speculative {name}", getattr(self, name), low, high)
        if self.min_match > self.max_match:
            raise ConfigError(
                f"speculative min_match is {self.min_match} and max_match is {self.max_match}; "
                "min_match must not be the larger"
            )

    @classmethod
    def parse(cls, value: object) -> Self | None:
        """From None, the name of a method, or a dictionary of these fields. Raises ConfigError."""
        if value is None or isinstance(value, cls):
            return value
        if isinstance(value, str):
            return cls(method=value)  # type: ignore[arg-type]  # checked above
        if not isinstance(value, dict):
            raise ConfigError(
                f'speculative is {value!r:.80}; it must be None, a method such as "ngram", or a dictionary '
                'such as {"method": "ngram", "max_draft_tokens": 8}'
            )
        return cls._from_dict(value)

    @classmethod
    def _from_dict(cls, values: dict[str, Any]) -> Self:
        known = [field.name for field in fields(cls)]
        for key in values:
            if key not in known:
                raise ConfigError(f"speculative has the unknown key {key!r}; known: {', '.join(known)}")
        if "method" not in values:
            raise ConfigError(f"speculative names no method; it must be one of {', '.join(METHODS)}")
        return cls(**values)
