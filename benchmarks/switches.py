#!/usr/bin/env python3
"""What each switch buys: the same work with a technique on and off, in alternating runs, medians.

    .venv/bin/python benchmarks/switches.py --repeats 5 --json out.json --markdown out.md

Work: `batch` is 32 prompts of 192 tokens, 128 of them the same for all, and 32 tokens out each; `prefill`
is one prompt of 512 tokens; `decode` is one answer of 64 tokens after 128; `stall` is the longest gap between
two tokens of one answer while a prompt of 1,500 tokens arrives. Every variant loads the default model.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from redline import LLM, SamplingParams, _kernels
from redline.bench.environment import environment

Measure = Callable[[LLM], float]
FRESH = iter(range(10**9))


def greedy(max_tokens: int) -> SamplingParams:
    return SamplingParams(temperature=0.0, max_tokens=max_tokens, ignore_eos=True)


def prompt(length: int, shared: int = 0) -> list[int]:
    """Token ids never used before, but for the first `shared`."""
    start = next(FRESH) * 7919
    return [1000 + index for index in range(shared)] + [
        1000 + (start + 31 * index) % 40000 for index in range(length - shared)
    ]


def batch(llm: LLM) -> float:
    """Output tokens per second of the whole batch, prompts included."""
    prompts = [prompt(192, shared=128) for _ in range(32)]
    start = time.perf_counter()
    llm.generate(prompts, greedy(32))
    return 32 * 32 / (time.perf_counter() - start)


def prefill(llm: LLM) -> float:
    return 512 / llm.generate([prompt(512)], greedy(1))[0].metrics.ttft_s


def decode(llm: LLM) -> float:
    return 1 / llm.generate([prompt(128)], greedy(64))[0].metrics.tpot_s


def stall(llm: LLM) -> float:
    """Milliseconds."""
    running = llm.stream(prompt(16), greedy(64))
    for _ in range(8):
        next(running)
    arriving = llm.stream(prompt(1500), greedy(1))
    times = [time.perf_counter()]
    for _ in running:
        times.append(time.perf_counter())
    list(arriving)
    return 1000 * max(later - earlier for earlier, later in zip(times, times[1:], strict=False))


# technique, measure, unit, options that switch it off (isa: the instruction set to be held to)
CASES: list[tuple[str, Measure, str, dict[str, object]]] = [
    ("continuous-batching", batch, "tok/s", {"max_batch": 1}),
    ("prefix-reuse", batch, "tok/s", {"prefix_cache": False}),
    ("chunked-prefill", stall, "ms", {"chunked_prefill": None}),
    ("f16-kv", batch, "tok/s", {"kv_format": "f32"}),
    ("int4-weights, integer-activations", prefill, "tok/s", {"compute": "float"}),
    ("int4-weights", decode, "tok/s", {"compute": "float"}),
    ("isa-dispatch (AVX2)", prefill, "tok/s", {"isa": "avx2"}),
    ("isa-dispatch (AVX2)", decode, "tok/s", {"isa": "avx2"}),
    ("isa-dispatch (plain C++)", prefill, "tok/s", {"isa": "scalar"}),
    ("isa-dispatch (plain C++)", decode, "tok/s", {"isa": "scalar"}),
    ("threads", prefill, "tok/s", {"threads": 1}),
    ("threads", decode, "tok/s", {"threads": 1}),
]


def run(measure: Measure, options: dict[str, object], repeats: int) -> list[float]:
    """The medians with the technique on and off."""
    isa = str(options.get("isa", "auto"))
    engine_options = {name: value for name, value in options.items() if name != "isa"}
    common = {"max_context": 2048, "kv_memory": "512MiB"}
    variants = [LLM("smollm2", **common), LLM("smollm2", **{**common, **engine_options})]
    values: list[list[float]] = [[], []]
    for turn in range(repeats + 1):
        for index, llm in enumerate(variants):
            _kernels.select_isa(isa if index else "auto")
            _kernels.set_num_threads(llm.config.threads or 2)
            value = measure(llm)
            if turn:  # the first is a warm-up
                values[index].append(value)
    _kernels.select_isa("auto")
    return [statistics.median(each) for each in values]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    where = asdict(environment())
    rows, results = [], []
    for name, measure, unit, options in CASES:
        with_it, without = run(measure, options, args.repeats)
        factor = without / with_it if unit == "ms" else with_it / without
        off = ", ".join(f"{key}={value}" for key, value in options.items())
        results.append(
            {"technique": name, "work": measure.__name__, "unit": unit, "off": off, "with": with_it}
            | {"without": without, "factor": factor}
        )
        work = measure.__name__
        rows.append(
            f"| {name} | {work} | {off} | {with_it:.1f} {unit} | {without:.1f} {unit} | {factor:.2f}x |"
        )
        sys.stdout.write(rows[-1] + "\n")
        sys.stdout.flush()
    text = "\n".join(
        [
            "# What each switch buys",
            "",
            f"`benchmarks/switches.py --repeats {args.repeats}`: medians of alternating runs, SmolLM2-135M.",
            "",
            *(f"- {key}: {value}" for key, value in where.items()),
            "",
            "| technique | work | off | on | off | factor |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )
    if args.markdown:
        args.markdown.write_text(text)
    if args.json:
        args.json.write_text(json.dumps({"environment": where, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
