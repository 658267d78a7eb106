#!/usr/bin/env python3
"""What beam search costs on SmolLM2: speed against transformers, and K/V blocks against greedy.

    .venv/bin/python benchmarks/beam_search.py --repeats 3 --json out.json --markdown out.md

Speed: a chat of some 100 tokens is answered with 4 beams by Redline, by `transformers` in float32 on the same
weights (those of the GGUF file, dequantised) with as many threads, and greedily by Redline. Answers have a
fixed length; a rate counts the tokens of one answer per second, the prompt included. Variants take turns in
each repeat; ratios are of medians. `agree`: the share of tokens up to the first that differs from the best
answer of transformers; Redline's kernels round activations to 8 bits, its float kernels (`compute="float"`)
should agree to the end.

Memory: the most blocks of 16 tokens in use while a prompt of 512 tokens is answered.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from results import Row, add_arguments, report

from redline import LLM, SamplingParams
from redline.models.pull import pull

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.oracle import llama_in_float32

TOKENS = 48  # of each answer
WIDTH = 4
QUESTION = (
    "Here is what a friend wrote to me: we left before sunrise, crossed the river twice, lost the road in "
    "the fog, found a village that was on no map, were given bread and soup by people whose language none of "
    "us spoke, and came home a week late with a goat that followed us all the way. Tell the story again in "
    "your own words, in one paragraph, as if you had been there."
)
SEARCH = SamplingParams(
    use_beam_search=True, best_of=WIDTH, max_tokens=TOKENS, min_tokens=TOKENS, early_stopping=True
)
GREEDY = SamplingParams(temperature=0.0, max_tokens=TOKENS, ignore_eos=True)

Run = Callable[[], list[int]]


def ours(llm: LLM, prompt: list[int], params: SamplingParams) -> Run:
    return lambda: llm.generate(prompt, params)[0].choices[0].token_ids


def theirs(prompt: list[int], eos: list[int], threads: int) -> Run:
    import torch

    torch.set_num_threads(threads)
    model = llama_in_float32(pull("smollm2"))

    def run() -> list[int]:
        with torch.no_grad():
            found = model.generate(
                torch.tensor([prompt]),
                attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                do_sample=False,
                num_beams=WIDTH,
                max_new_tokens=TOKENS,
                min_new_tokens=TOKENS,
                early_stopping=True,
                eos_token_id=eos,
                pad_token_id=0,
            )
        tokens: list[int] = found[0, len(prompt) :].tolist()
        return tokens

    return run


def agreement(tokens: list[int], expected: list[int]) -> float:
    same = [a == b for a, b in zip(tokens, expected, strict=True)]
    return same.index(False) / len(same) if False in same else 1.0


def speed(repeats: int, threads: int) -> list[Row]:
    options = {"max_context": 1024, "max_batch": 8, "threads": threads, "prefix_cache": False}
    llm = LLM("smollm2", **options)
    exact = LLM("smollm2", compute="float", kv_format="f32", **options)
    prompt = llm._engine.inputs.encode_chat([{"role": "user", "content": QUESTION}])
    runs = {
        "transformers, 4 beams": theirs(prompt, sorted(llm.tokenizer.eos_token_ids), threads),
        "redline, 4 beams": ours(llm, prompt, SEARCH),
        "redline, 4 beams, float": ours(exact, prompt, SEARCH),
        "redline, greedy": ours(llm, prompt, GREEDY),
    }
    rates: dict[str, list[float]] = {name: [] for name in runs}
    tokens: dict[str, list[int]] = {}
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            tokens[name] = run()
            if repeat:
                rates[name].append(len(tokens[name]) / (time.perf_counter() - start))
    base = statistics.median(rates["transformers, 4 beams"])
    return [
        {
            "variant": name,
            "tok/s": (rate := statistics.median(rates[name])),
            "of transformers": rate / base,
            "agree": agreement(tokens[name], tokens["transformers, 4 beams"]) if "beams" in name else "",
        }
        for name in runs
    ]


def most_blocks(llm: LLM, params: SamplingParams) -> int:
    pool = llm._engine.scheduler.pools[0]
    prompt = llm._engine.inputs.encode_prompt(QUESTION * 8)[:512]
    llm._engine.add("measured", prompt, params)
    most = 0
    while llm._engine.has_work:
        llm._engine.step()
        most = max(most, pool.num_blocks - pool.num_available)
    return most


def memory() -> list[Row]:
    llm = LLM("smollm2", max_context=1024, max_batch=8)
    greedy = most_blocks(llm, GREEDY)
    apart = {"num_beam_groups": WIDTH, "diversity_penalty": 9.0}
    variants = {
        "greedy": GREEDY,
        "4 beams": SEARCH,
        "4 beams that part at once": SamplingParams(
            use_beam_search=True, best_of=WIDTH, max_tokens=TOKENS, ignore_eos=True, **apart
        ),
    }
    rows: list[Row] = []
    for name, params in variants.items():
        blocks = most_blocks(llm, params)
        rows.append({"variant": name, "blocks": blocks, "of greedy": blocks / greedy})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    add_arguments(parser)
    args = parser.parse_args()
    results = {"speed": speed(args.repeats, args.threads), "memory, 512 tokens of prompt": memory()}
    report(args, "What beam search costs", results)


if __name__ == "__main__":
    main()
