"""The load of a sweep: how many requests, how long, and when they come. The same for every setting."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from redline.errors import ConfigError

LENGTHS = ("heavy", "fixed")
SPREAD = 0.8  # of the logarithm of a length: one in five is twice the median or more, one in 24 four times
CUT_OFF = 8  # times the median
LEAST = {"requests": 2, "prompt_tokens": 1, "output_tokens": 2}  # one token has no time per token


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt, how many tokens are wanted, and when it comes: seconds from the start; None: in its turn."""

    prompt: list[int]
    output_tokens: int
    at_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Requests of random tokens. `prompt_tokens` and `output_tokens` are medians, or the lengths themselves.

    "heavy": log-normal lengths, as real traffic has them. `rate`: requests per second, at random times
    (Poisson); None: closed loop, in which as many requests run as the batch holds and each that ends is
    replaced by the next. Raises ConfigError when a number is out of range.
    """

    requests: int = 64
    prompt_tokens: int = 128
    output_tokens: int = 64
    lengths: Literal["heavy", "fixed"] = "heavy"
    rate: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low in LEAST.items():
            if getattr(self, name) < low:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least {low}")
        if self.lengths not in LENGTHS:
            raise ConfigError(f"lengths is {self.lengths!r}; it must be one of {', '.join(LENGTHS)}")
        if self.rate is not None and not 0 < self.rate < float("inf"):
            raise ConfigError(f"rate is {self.rate}; it must be requests per second, above 0")

    @property
    def max_tokens(self) -> int:
        """What the longest request may take, prompt and answer together."""
        return (self.prompt_tokens + self.output_tokens) * (CUT_OFF if self.lengths == "heavy" else 1)

    def drawn(self, vocab_size: int, repeat: int) -> list[Request]:
        """The requests of one repeat: the same lengths and times in each, and prompts that no other has."""
        lengths, times = random.Random(f"lengths/{self.seed}"), random.Random(f"times/{self.seed}")
        prompts = random.Random(f"prompts/{self.seed}/{repeat}")
        requests, at_s = [], 0.0
        for _ in range(self.requests):
            prompt_tokens = self._length(lengths, self.prompt_tokens, LEAST["prompt_tokens"])
            output_tokens = self._length(lengths, self.output_tokens, LEAST["output_tokens"])
            prompt = [prompts.randrange(vocab_size) for _ in range(prompt_tokens)]
            requests.append(Request(prompt, output_tokens, None if self.rate is None else at_s))
            at_s += times.expovariate(self.rate or 1.0)
        return requests

    def _length(self, draw: random.Random, median: int, least: int) -> int:
        if self.lengths == "fixed":
            return median
        return min(CUT_OFF * median, max(least, round(median * draw.lognormvariate(0.0, SPREAD))))

    def describe(self) -> str:
        """In words, for a report."""
        sizes = f"{self.prompt_tokens} tokens in, {self.output_tokens} out"
        lengths = f"median {sizes}, log-normal" if self.lengths == "heavy" else sizes
        comes = "closed loop" if self.rate is None else f"Poisson arrivals, {self.rate:g} per second"
        return f"{self.requests} requests, {lengths}, {comes}, seed {self.seed}"
