#!/usr/bin/env python3
"""What structured output costs and what jump-ahead buys, on SmolLM2; and whether all answers are valid.

    .venv/bin/python benchmarks/structured_output.py --repeats 5 --json out.json --markdown out.md

`cost`: a batch writes as many tokens with and without a JSON Schema, without jump-ahead, the variants taking
turns in each repeat; milliseconds between tokens, the median, and the fastest tenth, which is what a step
takes while nobody else has the machine. `jump-ahead`: the same
answers with and without it, and the share of their tokens that were forced. `valid`: ten answers to each of
the fifty schemas of benchmarks/schemas.py, one of them greedy, held against the `jsonschema` package.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from results import Row, add_arguments, report
from schemas import PERSON, SCHEMAS, array, request

from redline import LLM, RequestOutput, SamplingParams, StructuredOutputsParams

TOKENS = 128  # of each answer whose cost is measured
ASKED = [{"role": "user", "content": "List twenty people as JSON, with name, age and email."}]


def cost(llm: LLM, batch: int, repeats: int) -> Row:
    free = SamplingParams(temperature=0, max_tokens=TOKENS, ignore_eos=True)
    # Long enough that all tokens are there, whatever the model would like.
    people = StructuredOutputsParams(json=array(PERSON, 20, 20))
    bound = SamplingParams(temperature=0, max_tokens=TOKENS, structured_outputs=people)
    gaps: dict[str, list[float]] = {"free": [], "schema": []}
    for repeat in range(repeats + 1):
        for name, params in (("free", free), ("schema", bound)):
            outputs = llm.chat([ASKED] * batch, params)
            assert all(output.metrics.num_output_tokens == TOKENS for output in outputs)
            if repeat:
                gaps[name] += [seconds * 1e3 for seconds in outputs[0].metrics.itl_s]
    row: Row = {"batch": batch}
    for way, of in (("median", statistics.median), ("fastest tenth", fastest_tenth)):
        free_ms, schema_ms = of(gaps["free"]), of(gaps["schema"])
        row |= {f"free, {way}": free_ms, f"schema, {way}": schema_ms, f"ratio, {way}": schema_ms / free_ms}
    return row


def fastest_tenth(values: list[float]) -> float:
    return statistics.quantiles(values, n=10)[0]


def jump(plain: LLM, jumping: LLM, batch: int, repeats: int) -> Row:
    names = ["order", "company", "definitions", "recipe", "tool call", "lines", "person", "event"]
    names = [*names, *(name for name in SCHEMAS if name not in names)][:batch]
    chats = [request(name) for name in names]
    params = [params_of(name, 0, 128) for name in names]
    rates: dict[str, list[float]] = {"off": [], "on": []}
    steps: dict[str, int] = {}
    for repeat in range(repeats + 1):
        tokens = {}
        for name, llm in (("off", plain), ("on", jumping)):
            start, before = time.perf_counter(), llm.stats().num_steps
            outputs = llm.chat(chats, params)
            total = sum(output.metrics.num_output_tokens for output in outputs)
            if repeat:
                rates[name].append(total / (time.perf_counter() - start))
            steps[name] = llm.stats().num_steps - before
            tokens[name] = [output.choices[0].token_ids for output in outputs]
        assert tokens["on"] == tokens["off"], "jump-ahead changed the output"
    forced = sum(output.metrics.num_accepted_tokens for output in outputs)
    off, on = (statistics.median(rates[name]) for name in ("off", "on"))
    row: Row = {"batch": batch, "off tok/s": off, "on tok/s": on, "on / off": on / off}
    return row | {"steps off": steps["off"], "steps on": steps["on"], "forced": forced / total}


def params_of(name: str, seed: int, most: int = 512) -> SamplingParams:
    form = StructuredOutputsParams(json=SCHEMAS[name])
    temperature = 0.8 if seed else 0.0
    return SamplingParams(temperature=temperature, seed=seed, max_tokens=most, structured_outputs=form)


def problem(schema: dict[str, Any], output: RequestOutput) -> str | None:
    """What is wrong with an answer."""
    try:
        value = json.loads(output.text)
    except ValueError as error:
        return f"{output.choices[0].finish_reason}: {error}"
    errors = Draft202012Validator(schema, format_checker=FormatChecker()).iter_errors(value)
    return next((error.message for error in errors), None)


def valid(llm: LLM, generations: int) -> Row:
    names = [name for name in SCHEMAS for _ in range(generations)]
    params = [params_of(name, seed) for name in SCHEMAS for seed in range(generations)]
    outputs = llm.chat([request(name) for name in names], params)
    problems = [
        f"{name}: {found}"
        for name, output in zip(names, outputs, strict=True)
        if (found := problem(SCHEMAS[name], output))
    ]
    sys.stderr.write("".join(f"{each}\n" for each in problems))
    total = sum(output.metrics.num_output_tokens for output in outputs)
    right = len(names) - len(problems)
    return {"schemas": len(SCHEMAS), "answers": len(names), "valid": right, "tokens": total}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--generations", type=int, default=10, help="answers to each schema")
    parser.add_argument("--batch", type=int, action="append", help="default: 1, 8 and 32")
    add_arguments(parser)
    args = parser.parse_args()
    options = {"max_context": 2048, "max_batch": 32, "prefix_cache": False}
    plain, jumping = LLM("smollm2", jump_ahead=False, **options), LLM("smollm2", **options)
    batches = args.batch or (1, 8, 32)
    results = {
        "cost": [cost(plain, batch, args.repeats) for batch in batches],
        "jump-ahead": [jump(plain, jumping, batch, args.repeats) for batch in batches],
        "valid": [valid(jumping, args.generations)],
    }
    report(args, "What structured output costs", results)


if __name__ == "__main__":
    main()
