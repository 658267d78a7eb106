#!/usr/bin/env python3
"""What the scheduler's policies buy, on SmolLM2 with arrivals in time: throughput and time to first token.

    .venv/bin/python benchmarks/scheduling.py --repeats 3 --json out.json --markdown out.md

`batching`: requests with log-normal lengths (32 tokens in, 60 out in the median; one answer in twenty is
eight times as long) that arrive at random times, about as fast as continuous batching serves them; against
static and dynamic batching, batches of 16 (--batch). The fewer requests, the more the last answers of all
count, which run almost alone with every policy: in a thousand they are a twentieth of the time.
`share`: 20 prompts of 40 tokens arrive within a second after one of 6,000 tokens, against the same 20 alone,
with step_time and prompt_share on and off. Variants take turns in each repeat; ratios are of medians.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import statistics
import time
from dataclasses import dataclass

from results import Row, add_arguments, report

from redline import AsyncLLM, SamplingParams


@dataclass(frozen=True)
class Arrival:
    """A request and when it comes, in seconds."""

    at_s: float
    prompt: list[int]
    output_tokens: int


@dataclass(frozen=True)
class Result:
    """Of one run: output tokens per second, and the times to first token."""

    tokens_per_s: float
    ttft_s: list[float]

    def percentile(self, share: float) -> float:
        ordered = sorted(self.ttft_s)
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def random_prompt(draw: random.Random, length: int) -> list[int]:
    return [draw.randrange(1000, 40000) for _ in range(length)]


def heavy_tailed(seed: int, count: int, per_second: float) -> list[Arrival]:
    draw, at_s, arrivals = random.Random(seed), 0.0, []
    for _ in range(count):
        at_s += draw.expovariate(per_second)
        length = min(800, max(8, round(32 * draw.lognormvariate(0, 0.8))))
        output = min(1000, max(4, round(60 * draw.lognormvariate(0, 1.3))))
        arrivals.append(Arrival(at_s, random_prompt(draw, length), output))
    return arrivals


def short_ones(seed: int) -> list[Arrival]:
    draw = random.Random(seed)
    return [Arrival(0.05 + n / 20, random_prompt(draw, 40), 8) for n in range(20)]


async def serve(llm: AsyncLLM, arrivals: list[Arrival]) -> Result:
    """Run a load; the times of the last request count, whoever it is."""
    start = time.perf_counter()

    async def one(arrival: Arrival) -> float:
        await asyncio.sleep(start + arrival.at_s - time.perf_counter())
        params = SamplingParams(temperature=0.0, max_tokens=arrival.output_tokens, ignore_eos=True)
        metrics = None
        async for delta in llm.stream(arrival.prompt, params):
            metrics = delta.metrics
        assert metrics is not None
        return metrics.ttft_s

    ttft_s = await asyncio.gather(*(one(arrival) for arrival in arrivals))
    total = sum(arrival.output_tokens for arrival in arrivals)
    return Result(total / (time.perf_counter() - start), list(ttft_s))


async def measure(options: dict[str, object], arrivals: list[Arrival]) -> Result:
    async with AsyncLLM("smollm2", prefix_cache=False, kv_memory="768MiB", **options) as llm:
        await serve(llm, [Arrival(0.0, random_prompt(random.Random(0), 64), 8)])
        return await serve(llm, arrivals)


BATCHING: dict[str, dict[str, object]] = {
    "continuous": {},
    "static": {"batching": "static"},
    "dynamic": {"batching": "dynamic"},
}


def batching(repeats: int, count: int, per_second: float, batch: int, policies: list[str]) -> list[Row]:
    results: dict[str, list[Result]] = {name: [] for name in policies}
    for repeat in range(repeats):
        arrivals = heavy_tailed(repeat, count, per_second)
        for name in policies:
            options = {"max_batch": batch, "max_context": 2048, **BATCHING[name]}
            results[name].append(asyncio.run(measure(options, arrivals)))
    return [
        {
            "variant": name,
            "tokens_per_s": statistics.median(each.tokens_per_s for each in runs),
            "ttft_p50_s": statistics.median(each.percentile(0.5) for each in runs),
            "ttft_p99_s": statistics.median(each.percentile(0.99) for each in runs),
        }
        for name, runs in results.items()
    ]


SHARE: dict[str, dict[str, object]] = {
    "alone": {},
    "beside it": {},
    "beside it, no step time": {"step_time": None},
    "beside it, no share either": {"step_time": None, "prompt_share": 1.0},
}


def share(repeats: int) -> list[Row]:
    results: dict[str, list[Result]] = {name: [] for name in SHARE}
    long_ttft_s: dict[str, list[float]] = {name: [] for name in SHARE}
    for repeat in range(repeats):
        draw = random.Random(f"long/{repeat}")
        for name, options in SHARE.items():
            arrivals = short_ones(repeat)
            if name != "alone":
                arrivals = [*arrivals, Arrival(0.0, random_prompt(draw, 6000), 8)]
            result = asyncio.run(measure({"max_context": 8192, **options}, arrivals))
            results[name].append(Result(result.tokens_per_s, result.ttft_s[:20]))
            long_ttft_s[name] += result.ttft_s[20:]
    return [
        {
            "variant": name,
            "ttft_p50_s": statistics.median(each.percentile(0.5) for each in runs),
            "ttft_p95_s": statistics.median(each.percentile(0.95) for each in runs),
            "long_ttft_s": statistics.median(long_ttft_s[name]) if long_ttft_s[name] else 0.0,
        }
        for name, runs in results.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--requests", type=int, default=960)
    parser.add_argument("--rate", type=float, default=10.0, help="requests per second")
    parser.add_argument("--batch", type=int, default=16, help="requests that run at once")
    parser.add_argument("--policies", nargs="+", choices=BATCHING, default=list(BATCHING))
    parser.add_argument("--work", choices=("batching", "share"), help="default: both")
    add_arguments(parser)
    args = parser.parse_args()
    results = {}
    if args.work != "share":
        heading = f"{args.requests} requests, {args.rate} per second, batches of {args.batch}"
        results[heading] = batching(args.repeats, args.requests, args.rate, args.batch, args.policies)
    if args.work != "batching":
        results["20 short prompts"] = share(args.repeats)
    report(args, "What the scheduler's policies buy", results)


if __name__ == "__main__":
    main()
