"""Served: the times and counts of one request that was answered, and whether its usage can be true."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

from redline.bench.serving.call import Outcome

Count = Callable[[str], int]
TOLERANCE = 0.1  # between tokens that the server counts and those of the text by the tokenizer
TOLERATED = 2  # tokens: an end of sequence has no text

# What may be wrong about usage.
MISSING = "no usage"
BELOW_CHUNKS = "fewer tokens than chunks"  # though each chunk brings at least one
ABOVE_ASKED = "more tokens than asked for"
LENGTH = "finish_reason length, and not that long"
NOT_THE_TEXT = "not the tokens of the text"  # by the tokenizer that was given
NO_PROMPT = "no prompt tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Seconds, and tokens. `doubts`: why the usage is not believed; then chunks count as tokens."""

    ttft_s: float
    tpot_s: float | None  # None: there was one token
    tbt_s: tuple[float, ...]  # between chunks
    e2e_s: float
    prompt_tokens: int
    output_tokens: int
    cached_tokens: int | None
    num_chunks: int
    doubts: tuple[str, ...]

    @classmethod
    def of(cls, outcome: Outcome, count: Count | None) -> Served:
        """Of an outcome that is done. `count` counts the tokens of a text."""
        answer = outcome.answer
        first_s, last_s = answer.chunk_s[0], answer.chunk_s[-1]
        doubts = tuple(_doubts(outcome, count))
        usage = answer.usage
        believed = usage is not None and not set(doubts) - {NO_PROMPT}
        tokens = usage.completion_tokens if usage is not None and believed else len(answer.chunk_s)
        return cls(
            ttft_s=first_s - outcome.sent_s,
            tpot_s=(last_s - first_s) / (tokens - 1) if tokens > 1 else None,
            tbt_s=tuple(after - before for before, after in itertools.pairwise(answer.chunk_s)),
            e2e_s=last_s - outcome.sent_s,
            prompt_tokens=0 if usage is None else usage.prompt_tokens,
            output_tokens=tokens,
            cached_tokens=None if usage is None else usage.cached_tokens,
            num_chunks=len(answer.chunk_s),
            doubts=doubts,
        )

    @property
    def times_s(self) -> dict[str, float | None]:
        """By the names of Slo."""
        longest = max(self.tbt_s, default=None)
        return {"ttft": self.ttft_s, "tpot": self.tpot_s, "tbt": longest, "e2e": self.e2e_s}


def _doubts(outcome: Outcome, count: Count | None) -> list[str]:
    answer = outcome.answer
    if answer.usage is None:
        return [MISSING]
    said = answer.usage.completion_tokens
    doubts = []
    if said < len(answer.chunk_s):
        doubts.append(BELOW_CHUNKS)
    if said > outcome.asked_tokens:
        doubts.append(ABOVE_ASKED)
    if answer.finish_reason == "length" and said < outcome.asked_tokens:
        doubts.append(LENGTH)
    if answer.usage.prompt_tokens < 1:
        doubts.append(NO_PROMPT)
    if count is not None:
        counted = count("".join(answer.text))
        if abs(said - counted) > TOLERATED + TOLERANCE * counted:
            doubts.append(NOT_THE_TEXT)
    return doubts
