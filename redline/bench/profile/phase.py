"""Phase: what a profiled forward pass computes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """`batch` sequences compute `tokens` each at once, the last of their `context` tokens."""

    name: str
    batch: int
    tokens: int
    context: int
