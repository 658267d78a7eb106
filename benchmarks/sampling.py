#!/usr/bin/env python3
"""What each step of sampling costs a row of logits, on SmolLM2.

    .venv/bin/python benchmarks/sampling.py --repeats 15 --json out.json --markdown out.md

The rows are those of an answer at temperature 1, one call of the sampler for each, behind `--context` tokens.
`first` is the first row of a request, for which DRY looks through the prompt and bad words are spelled.
`hostile` is the slowest that was found for a step: a flat distribution, a context of one token repeated, the
most and longest words. Steps take turns in each repeat; numbers are medians in microseconds, and `over plain`
is what a row costs more than without any step.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
from results import Row, add_arguments, report

from redline import LLM, SamplingParams
from redline.decoding.sampler import Sampler, SampleRow
from redline.decoding.steps.build import NO_STEPS, RowSteps, build_steps
from redline.decoding.steps.step import TokensBefore
from redline.ops.arrays import F32
from redline.ops.registry import backend

ROWS = 32
WORDS = [f"{'word' * 31}{number}" for number in range(256)]
STEPS: dict[str, dict[str, object]] = {
    "plain": {},
    "top_k, top_p, min_p": {"top_k": 40, "top_p": 0.9, "min_p": 0.05},
    "top_n_sigma": {"top_n_sigma": 1.0},
    "typical_p": {"typical_p": 0.9},
    "xtc": {"xtc_probability": 1.0},
    "all truncations": {
        "top_n_sigma": 2.0,
        "top_k": 40,
        "typical_p": 0.9,
        "min_p": 0.05,
        "xtc_probability": 0.5,
    },
    "mirostat 1": {"mirostat": 1},
    "mirostat 2": {"mirostat": 2},
    "dry": {"dry_multiplier": 0.8},
    "dry, no breakers": {"dry_multiplier": 0.8, "dry_sequence_breakers": []},
    "bad_words (256)": {"bad_words": WORDS},
    "allowed_token_ids": {"allowed_token_ids": list(range(1000))},
    "logits_processors": {"logits_processors": [lambda output_token_ids, logits: logits]},
}


def rows_of(llm: LLM) -> F32:
    """The logits of an answer."""
    seen: list[F32] = []

    def record(output_token_ids: list[int], logits: F32) -> F32:
        seen.append(logits.copy())
        return logits

    params = SamplingParams(seed=1, max_tokens=ROWS, ignore_eos=True, logits_processors=[record])
    llm.generate("The most important thing about a", params)
    return np.array(seen)


class Timed:
    """One step on the rows of one answer."""

    def __init__(self, llm: LLM, sampler: Sampler, options: dict[str, object]) -> None:
        self._sampler = sampler
        self._tokenizer = llm.tokenizer
        self._params = SamplingParams(seed=1, **options)

    def run(self, logits_RV: F32, prompt: list[int]) -> tuple[float, float]:
        """Microseconds of the first row, and of a later one."""
        output: list[int] = []
        micros = []
        mu = 2 * self._params.mirostat_tau
        logits_RV = logits_RV.copy()
        start = time.perf_counter()
        steps = build_steps(self._params, self._tokenizer)
        for place, logits_V in enumerate(logits_RV):
            row_steps = RowSteps(steps, TokensBefore(prompt, output), mu)
            row = SampleRow(self._params, 1, 0, place, {}, steps=row_steps if steps is not NO_STEPS else None)
            (sampled,) = self._sampler.sample(logits_V[None], [row])
            mu = sampled.mu
            output.append(prompt[place % len(prompt)])
            micros.append((time.perf_counter() - start) * 1e6)
            start = time.perf_counter()
        return micros[0], statistics.median(micros[1:])


def measure(llm: LLM, context: int, repeats: int) -> list[Row]:
    sampler = Sampler(backend("cpu"))
    usual_RV = rows_of(llm)
    text = llm.tokenizer.encode("It is what it is, and it was what it was: nothing else.\n" * 200)
    prompt = (text * (context // len(text) + 1))[:context]
    flat_RV = np.random.default_rng(0).standard_normal(usual_RV.shape).astype(np.float32)
    timed = {name: Timed(llm, sampler, options) for name, options in STEPS.items()}
    times: dict[str, list[tuple[float, ...]]] = {name: [] for name in STEPS}
    for _ in range(repeats):
        for name, each in timed.items():
            times[name].append((*each.run(usual_RV, prompt), *each.run(flat_RV, [7] * context)))
    medians = {
        name: [statistics.median(column) for column in zip(*rows, strict=True)]
        for name, rows in times.items()
    }
    plain = medians["plain"][1]
    return [
        {"step": name, "first": first, "row": row, "over plain": row - plain, "hostile": max(hostile, row)}
        for name, (first, row, _, hostile) in medians.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--context", type=int, default=4096)
    add_arguments(parser)
    args = parser.parse_args()
    llm = LLM("smollm2", max_context=512, kv_memory="64MiB")
    results = {f"a context of {args.context} tokens": measure(llm, args.context, args.repeats)}
    report(args, "What a step of sampling costs", results)


if __name__ == "__main__":
    main()
