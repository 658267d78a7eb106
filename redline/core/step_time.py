"""StepTime: steps that carry prompts end soon, so that whoever arrives meanwhile does not wait long.

A request that arrives while a step runs waits for its end, whatever the order. So, as long as the batch has
room, a step takes only so many tokens of prompts as fit a target time, at the rate that was measured lately:
it falls as a long prompt is attended to, and the chunks shrink with it. Once requests queue for a place, the
wait is in the queue and not in the step, and the whole token budget is used again for throughput. It buys
even latencies beside long prompts (SLO-aware chunking as in Agrawal et al., "Sarathi-Serve", OSDI 2024, with
the time measured instead of profiled). It hurts the long prompt itself, since smaller chunks read weights
and earlier keys more often. `step_time=None` leaves the budget alone.
"""

from __future__ import annotations

from typing import Protocol

DECAY = 0.5  # of the rate so far, with each new measurement
FIRST_TOKENS = 64  # before anything was measured
STRIDE = 16  # tokens: rows of a tile, so no chunk wastes a part of one


class StepLimit(Protocol):
    """Limits the prompt tokens of a step."""

    def prompt_tokens(self, num_decodes: int, most: int) -> int:
        """How many of `most` tokens the prompts of the next step may take, beside so many decodes."""

    def measured(self, num_decodes: int, prompt_tokens: int, seconds: float) -> None:
        """A step took so long."""


class NoStepLimit:
    """Prompts take all there is."""

    def prompt_tokens(self, num_decodes: int, most: int) -> int:
        return most

    def measured(self, num_decodes: int, prompt_tokens: int, seconds: float) -> None:
        pass


class StepTime:
    """Aims at steps of `target_s` seconds; prompts get half of that at least, however long decodes take."""

    def __init__(self, target_s: float) -> None:
        self._target_s = target_s
        self._decode_s = 0.0  # of a step that only decodes
        self._rate: float | None = None  # prompt tokens per second

    def prompt_tokens(self, num_decodes: int, most: int) -> int:
        if self._rate is None:
            return min(FIRST_TOKENS, most)
        left_s = self._target_s - (self._decode_s if num_decodes else 0.0)
        fitting = int(self._rate * max(left_s, self._target_s / 2))
        return min(most, max(STRIDE, fitting // STRIDE * STRIDE))

    def measured(self, num_decodes: int, prompt_tokens: int, seconds: float) -> None:
        if seconds <= 0:
            return
        if not prompt_tokens:
            self._decode_s = _smooth(self._decode_s, seconds)
        elif prompt_tokens >= STRIDE:
            decode_s = min(self._decode_s, seconds / 2) if num_decodes else 0.0
            self._rate = _smooth(self._rate, prompt_tokens / (seconds - decode_s))


def _smooth(before: float | None, now: float) -> float:
    return DECAY * before + (1 - DECAY) * now if before else now
