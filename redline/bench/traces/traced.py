"""Traced: one request of a trace, and BadLine: a line that is none."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

MOST_TOKENS = 10_000_000  # of a prompt or an answer; more is a broken line


@dataclass(frozen=True, slots=True)
class Traced:
    """`blocks`: names of the prompt's parts; equal names have equal text. Empty: nothing is known of it."""

    at_s: float
    input_tokens: int
    output_tokens: int
    blocks: tuple[int, ...] = ()

    def moved(self, by_s: float) -> Traced:
        return replace(self, at_s=self.at_s + by_s)


@dataclass(frozen=True, slots=True)
class BadLine:
    """Where, and what is wrong."""

    number: int
    why: str

    def __str__(self) -> str:
        return f"line {self.number}: {self.why}"


def checked(at_s: float, input_tokens: int, output_tokens: int, blocks: tuple[int, ...] = ()) -> Traced:
    """Raises ValueError with what is wrong. Answers of no token are kept as one: somebody asked."""
    if not math.isfinite(at_s):
        raise ValueError(f"the time is {at_s}")
    for name, value, least in (("input", input_tokens, 1), ("output", output_tokens, 0)):
        if not least <= value <= MOST_TOKENS:
            raise ValueError(f"{value} {name} tokens")
    return Traced(at_s, input_tokens, max(1, output_tokens), blocks)
