"""The cases of `redline bench offline --against`: what every engine is given, and which number comes out."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from redline.errors import ConfigError

Metric = Literal["prefill", "decode", "total"]
MIXED_REQUESTS = 200
MIXED_INPUT = (16, 1500)  # tokens
MIXED_OUTPUT = (16, 400)
WARM_UP_TOKENS = 16  # of each answer
FIRST_TOKEN = "first_token"
FIRST_TOKEN_PROMPT = "The capital of France is"  # a completion that does not end at once


@dataclass(frozen=True, slots=True)
class Load:
    """Prompts given at once, and how many tokens are wanted of each."""

    prompts: list[list[int]]
    output_tokens: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Requests of equal size, or a mixed load, and what is measured of them."""

    name: str
    metric: Metric
    batch: int
    prompt_tokens: int = 0
    output_tokens: int = 1
    shared_tokens: int = 0  # with which all prompts begin; the engines may keep them
    most_repeats: int = 100
    timeout_s: float = 120.0

    @property
    def mixed(self) -> bool:
        return self.metric == "total" and not self.shared_tokens

    @property
    def max_tokens(self) -> int:
        """Of the longest request, prompt and answer together."""
        return MIXED_INPUT[1] + MIXED_OUTPUT[1] if self.mixed else self.prompt_tokens + self.output_tokens

    def load(self, vocab_size: int, seed: int, repeat: int) -> Load:
        """Random token ids, the same for the same seed and repeat, so that no prefix is seen twice.

        The first one warms up, for which a part of the load is enough.
        """
        draw = random.Random(f"{self.name}/{seed}/{repeat}")
        if self.mixed:
            inputs, outputs = mixed_lengths(self.batch if repeat else self.batch // 4 + 1, seed)
        else:
            output_tokens = self.output_tokens if repeat else min(self.output_tokens, WARM_UP_TOKENS)
            inputs, outputs = [self.prompt_tokens] * self.batch, [output_tokens] * self.batch
        shared = [draw.randrange(vocab_size) for _ in range(self.shared_tokens)]
        own = [length - self.shared_tokens for length in inputs]
        prompts = [shared + [draw.randrange(vocab_size) for _ in range(length)] for length in own]
        return Load(prompts, outputs)


SHARED_PREFIX = Part(
    name="shared prefix",
    metric="total",
    batch=32,
    shared_tokens=1000,
    prompt_tokens=1032,
    output_tokens=16,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One or more parts. With `ratio`, what the last part costs or yields beside the first is a row too."""

    name: str
    summary: str
    parts: tuple[Part, ...]
    ratio: str | None = None
    ratio_of_times: bool = False  # else of rates
    only_by_name: bool = False  # it sets the engines up in another way


def _batch(name: str, batch: int) -> Case:
    part = Part(name=name, metric="decode", batch=batch, prompt_tokens=128, output_tokens=64)
    return Case(name=name, summary=f"{batch} x 128 tokens in, 64 out", parts=(part,))


def cases(mixed_requests: int = MIXED_REQUESTS) -> dict[str, Case]:
    """All cases by name, in the order of the report."""
    context = [
        Part(name=f"context {n}", metric="decode", batch=1, prompt_tokens=n - 24, output_tokens=48)
        for n in (256, 4096)
    ]
    growth = [Part(name=f"prefill {n}", metric="prefill", batch=1, prompt_tokens=n) for n in (512, 1024)]
    mixed = Part(name="mixed", metric="total", batch=mixed_requests, most_repeats=1, timeout_s=900.0)
    listed = (
        Case(
            name="prefill",
            summary="512 tokens in, 1 out",
            parts=(Part(name="prefill", metric="prefill", batch=1, prompt_tokens=512),),
        ),
        _batch("decode_1", 1),
        _batch("decode_8", 8),
        _batch("decode_32", 32),
        Case(
            name="mixed",
            summary=f"{mixed_requests} requests at once, {MIXED_INPUT[0]}-{MIXED_INPUT[1]} tokens in, "
            f"{MIXED_OUTPUT[0]}-{MIXED_OUTPUT[1]} out, log-normal",
            parts=(mixed,),
        ),
        Case(
            name="context",
            summary="decoding 48 tokens around 256 and 4096 tokens of context",
            parts=tuple(context),
            ratio="rate at 4096 / at 256",
        ),
        Case(
            name="growth",
            summary="512 and 1024 tokens in, 1 out",
            parts=tuple(growth),
            ratio="time of 1024 / of 512",
            ratio_of_times=True,
        ),
        Case(
            name="shared_prefix",
            summary="32 prompts of 1032 tokens, of which all have the first 1000, 16 tokens out",
            parts=(SHARED_PREFIX,),
            only_by_name=True,
        ),
        Case(name=FIRST_TOKEN, summary="from the start of the process to the first byte of text", parts=()),
    )
    return {case.name: case for case in listed}


def cases_named(names: str | None, mixed_requests: int = MIXED_REQUESTS) -> list[Case]:
    """The cases of a list such as "prefill,decode_1"; None: all but those that are only run by name.

    Raises ConfigError for an unknown one.
    """
    if mixed_requests < 1:
        raise ConfigError(f"--mixed-requests is {mixed_requests}; it must be at least 1")
    known = cases(mixed_requests)
    if names is None:
        return [case for case in known.values() if not case.only_by_name]
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in known:
            raise ConfigError(f"--cases names {name!r}; the cases are {', '.join(known)}")
    if not wanted:
        raise ConfigError(f"--cases names no case; the cases are {', '.join(known)}")
    return [case for name, case in known.items() if name in wanted]


def mixed_lengths(count: int, seed: int) -> tuple[list[int], list[int]]:
    """Lengths of `count` prompts and answers, log-normal as real traffic is, cut off at both ends.

    The medians are 160 tokens in and 80 out; one prompt in eight is four times as long or more.
    """
    draw = random.Random(f"mixed lengths/{seed}")

    def lengths(median: float, spread: float, bounds: tuple[int, int]) -> list[int]:
        low, high = bounds
        return [min(high, max(low, round(median * draw.lognormvariate(0.0, spread)))) for _ in range(count)]

    return lengths(160, 1.2, MIXED_INPUT), lengths(80, 0.8, MIXED_OUTPUT)
