"""StepTime: steps that carry prompts end soon, so that whoever arrives meanwhile does not wait long.

A request that arrives while a step runs waits for its end, whatever the order. So, as long as the batch has
room, a prompt that cannot end in a step takes only so many tokens of it as fit a target time, at the rate
that was measured lately: it falls as a long prompt is attended to, and the chunks shrink with it. Short
prompts are computed whole, and a step in which one ends has no chunk of a long one, unless the step before
had none either: so newcomers wait for the rest of one short step, and the long prompt goes on. Once requests
queue for a place, the wait is in the queue and not in the step, and the whole token budget is used again for
throughput; and a prompt that has been alone for a while, so that nobody is likely to come in its next step,
may take longer ones. One that has just come has not: others may follow it. It buys even latencies beside
long prompts (SLO-aware chunking as in Agrawal et al., "Sarathi-Serve", OSDI 2024, with the time measured
instead of profiled). It hurts the long prompt itself, since smaller chunks read weights and earlier keys more
often.
`step_time=None` leaves the budget alone.
"""

from __future__ import annotations

from collections.abc import Sequence as Many
from math import inf
from typing import Protocol

from redline.core.average import smoothed
from redline.core.sequence import Sequence

DECAY = 0.5  # of the rate so far, with each new measurement
WHOLE = 64  # tokens of prompts that a step may take in any case, if they end in it
FIRST_TOKENS = 32  # before anything was measured
STRIDE = 16  # tokens: rows of a tile, so no chunk wastes a part of one
ALONE = 5  # times as long may the steps of a sequence be that is alone
QUIET_S = 1.0  # after which it is: since then nobody arrived, and no other sequence was here


class StepLimit(Protocol):
    """Limits what long prompts take of a step."""

    def arrived(self, now_s: float) -> None:
        """A sequence has been added."""

    def chunk(self, num_decodes: int, num_sequences: int, now_s: float) -> int | None:
        """The tokens that fit beside so many decodes; None: as many as there are.

        `num_sequences`: all that run and wait.
        """

    def measured(self, num_decodes: int, prompt_tokens: int, seconds: float) -> None:
        """A step took so long."""


class NoStepLimit:
    """Prompts take all there is."""

    def arrived(self, now_s: float) -> None:
        pass

    def chunk(self, num_decodes: int, num_sequences: int, now_s: float) -> int | None:
        return None

    def measured(self, num_decodes: int, prompt_tokens: int, seconds: float) -> None:
        pass


class StepTime:
    """Aims at steps of `target_s` seconds; prompts get half of that at least, however long decodes take."""

    def __init__(self, target_s: float) -> None:
        self._target_s = target_s
        self._decode_s: float | None = None  # of a step that only decodes
        self._rate: float | None = None  # prompt tokens per second
        self._company_s = -inf  # when somebody arrived, or more than one sequence was here

    def arrived(self, now_s: float) -> None:
        self._company_s = now_s

    def chunk(self, num_decodes: int, num_sequences: int, now_s: float) -> int | None:
        if num_sequences > 1:
            self._company_s = now_s
        if self._rate is None:
            return FIRST_TOKENS
        alone = now_s - self._company_s >= QUIET_S
        target_s = self._target_s * (ALONE if alone else 1)
        left_s = target_s - self._beside(num_decodes)
        fitting = int(self._rate * max(left_s, target_s / 2))
        return max(STRIDE, fitting // STRIDE * STRIDE)

    def measured(self, num_decodes: int, prompt_tokens: int, seconds: float) -> None:
        if seconds <= 0:
            return
        if not prompt_tokens:
            self._decode_s = smoothed(self._decode_s, seconds, DECAY)
        elif prompt_tokens >= STRIDE:
            prompt_s = seconds - min(self._beside(num_decodes), seconds / 2)
            self._rate = smoothed(self._rate, prompt_tokens / prompt_s, DECAY)

    def _beside(self, num_decodes: int) -> float:
        """Seconds that so many decodes are taken to cost."""
        return self._decode_s or 0.0 if num_decodes else 0.0


def split_by_length(prefills: Many[Sequence]) -> tuple[list[Sequence], list[Sequence]]:
    """Prompts that may end in a step of any length, and those that may have to give way to them."""
    short = [seq for seq in prefills if seq.num_uncomputed_tokens <= WHOLE]
    return short, [seq for seq in prefills if seq.num_uncomputed_tokens > WHOLE]
