#!/usr/bin/env python3
"""What the K/V cache's techniques buy, on SmolLM2: reuse, formats, the disk, and what scheduling costs.

    .venv/bin/python benchmarks/kv_cache.py --repeats 3 --json out.json --markdown out.md

`shared_prefix`: 32 prompts that begin with the same 1,000 tokens, with the prefix cache on and off. `format`:
decode steps of 32 sequences with 2,048 tokens of context each, by K/V format. `restart`: a prompt of 4,096
tokens, computed, and by a second engine that finds it in the cache directory. `scheduler`: microseconds that
planning and counting a step take with a model that computes nothing, by batch. Variants take turns in each
repeat; ratios are of medians.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence

from results import Row, add_arguments, report

from redline import LLM, SamplingParams
from redline.core.blocks import BlockPool
from redline.core.limits import SchedulerConfig
from redline.core.radix import RadixPrefixIndex
from redline.core.scheduler import Scheduler
from redline.core.sequence import Sequence as TokenSequence

BLOCK = 16  # tokens
FORMATS = ("f16", "bf16", "int8", "fp8", "int4")


def tokens(draw: random.Random, count: int) -> list[int]:
    return [draw.randrange(1000, 40000) for _ in range(count)]


def greedy(count: int) -> SamplingParams:
    return SamplingParams(temperature=0.0, max_tokens=count, ignore_eos=True)


def in_turns(variants: dict[str, Callable[[int], float]], repeats: int) -> dict[str, float]:
    """The median of what each variant returns, after a first round that does not count."""
    values: dict[str, list[float]] = {name: [] for name in variants}
    for repeat in range(repeats + 1):
        for name, run in variants.items():
            value = run(repeat)
            if repeat:
                values[name].append(value)
    return {name: statistics.median(each) for name, each in values.items()}


def shared_prefix(repeats: int) -> list[Row]:
    def run(prefix_cache: bool) -> Callable[[int], float]:
        llm = LLM("smollm2", max_context=1100, max_batch=32, prefix_cache=prefix_cache)

        def once(repeat: int) -> float:
            draw = random.Random(repeat)
            shared = tokens(draw, 1000)
            prompts = [shared + tokens(draw, 32) for _ in range(32)]
            started_s = time.perf_counter()
            llm.generate(prompts, greedy(16))
            return time.perf_counter() - started_s

        return once

    seconds = in_turns({"on": run(True), "off": run(False)}, repeats)
    return [
        {"prefix cache": name, "seconds": value, "times as fast": seconds["off"] / value}
        for name, value in seconds.items()
    ]


def kv_formats(repeats: int, names: Sequence[str] = FORMATS) -> list[Row]:
    def run(kv_format: str) -> Callable[[int], float]:
        llm = LLM("smollm2", max_context=2200, max_batch=32, kv_format=kv_format, kv_memory="2300MiB")
        engine, draw = llm._engine, random.Random(1)
        for index in range(32):
            engine.add(str(index), tokens(draw, 2048), greedy(140))
        while engine.stats().waiting or any(
            seq.num_uncomputed_tokens > 1 for seq in engine.scheduler._running
        ):
            engine.step()

        def once(repeat: int) -> float:
            times = []
            for _ in range(12):
                started_s = time.perf_counter()
                engine.step()
                times.append(time.perf_counter() - started_s)
            return statistics.median(times)

        return once

    seconds = in_turns({name: run(name) for name in names}, repeats)
    return [
        {"format": name, "step ms": 1e3 * value, "tokens/s": 32 / value, "of f16": seconds["f16"] / value}
        for name, value in seconds.items()
    ]


def restart(repeats: int) -> list[Row]:
    def run(folder: str | None) -> Callable[[int], float]:
        def once(repeat: int) -> float:
            options = {"max_context": 4200, "cache_dir": folder}
            with LLM("smollm2", **options) as llm:
                prompt = tokens(random.Random(0), 4097)
                return llm.generate([prompt], greedy(1))[0].metrics.ttft_s

        return once

    with tempfile.TemporaryDirectory() as folder:
        seconds = in_turns({"computed": run(None), "from disk": run(folder)}, repeats)
    return [
        {"prompt of 4,097": name, "first token s": value, "times as fast": seconds["computed"] / value}
        for name, value in seconds.items()
    ]


def scheduler(repeats: int) -> list[Row]:
    def run(batch: int) -> Callable[[int], float]:
        def once(repeat: int) -> float:
            return _step_seconds(batch)

        return once

    sizes = (32, 64, 128, 256, 512)
    seconds = in_turns({str(batch): run(batch) for batch in sizes}, repeats)
    return [{"batch": name, "us per step": 1e6 * value} for name, value in seconds.items()]


def _step_seconds(batch: int) -> float:
    """The mean of decode steps, schedule() and update(), while every sequence fills as many blocks."""
    pool = BlockPool(batch * 40, BLOCK)
    config = SchedulerConfig(max_batch=batch, token_budget=2048, block_size=BLOCK, max_context=600)
    brain = Scheduler(config, [pool], RadixPrefixIndex([pool]), time.perf_counter)
    for index in range(batch):
        brain.add(TokenSequence(index, [index % 50, index] * 20, SamplingParams(max_tokens=500), 0.0))
    times: list[float] = []
    while len(times) < 16 * BLOCK:
        started_s = time.perf_counter()
        plan = brain.schedule()
        planned_s = time.perf_counter() - started_s
        new_tokens = {item.seq.seq_id: 7 for item in plan.items if item.samples}
        started_s = time.perf_counter()
        brain.update(plan, new_tokens)
        if plan.num_tokens == batch:
            times.append(planned_s + time.perf_counter() - started_s)
    return statistics.fmean(times)


WORK: dict[str, Callable[[int], list[Row]]] = {
    "shared_prefix": shared_prefix,
    "format": kv_formats,
    "restart": restart,
    "scheduler": scheduler,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--work", choices=tuple(WORK), action="append", help="default: all")
    add_arguments(parser)
    args = parser.parse_args()
    results = {name: WORK[name](args.repeats) for name in args.work or WORK}
    report(args, "What the K/V cache's techniques buy", results)


if __name__ == "__main__":
    main()
