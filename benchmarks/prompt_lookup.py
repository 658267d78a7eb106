#!/usr/bin/env python3
"""Redline's n-gram speculation against the prompt lookup of llama-cpp-python, on SmolLM2, by kind of text.

    .venv/bin/python benchmarks/prompt_lookup.py --repeats 3 --json out.json --markdown out.md

The texts are those of benchmarks/speculation.py (`edit`, `json`, `code`), greedy, one request at a time: the
package drafts for one alone. Both read the same file with the same token ids and as many threads; llama.cpp
runs in the environment of `redline bench offline --against llama.cpp`, and has flash attention on or off,
whichever is faster. Engines take turns in each repeat; rates are medians and contain the prompts. `same` is
the share of answers of which both gave the same tokens.
"""

from __future__ import annotations

import argparse
import statistics
from contextlib import closing

from results import Row, add_arguments, report
from speculation import TOKENS, WORK, Work, params_of, run

from redline import LLM
from redline.bench.peers.environments import environment_python
from redline.bench.peers.process import WORKERS, Worker
from redline.bench.peers.registry import PEERS
from redline.engine.memory import num_cores
from redline.models.pull import pull

CONTEXT = 2048
KINDS = ("edit", "json", "code")
PATIENCE_S = 600.0
LOOKUP = 10  # tokens of a draft: the default of the package


class Ours:
    """Redline, with or without drafts."""

    def __init__(self, speculative: str | None, threads: int) -> None:
        options = {"max_context": CONTEXT, "max_batch": 1, "prefix_cache": False, "threads": threads}
        self.llm = LLM("smollm2", speculative=speculative, **options)

    def run(self, prompts: list[list[int]], tune: bool) -> tuple[float, list[list[int]]]:
        rate, ids, _ = run(self.llm, Work(prompts, params_of("edit", 0)), 1)
        return rate, ids


class Theirs:
    """llama.cpp, with or without drafts."""

    def __init__(self, num_pred_tokens: int, threads: int) -> None:
        python = environment_python(PEERS["llama.cpp"], "native", lambda line: None)
        options = {
            "model": str(pull("smollm2")),
            "threads": threads,
            "max_tokens": CONTEXT,
            "num_pred_tokens": num_pred_tokens,
        }
        command = [str(python), str(WORKERS / "llama_cpp_lookup_worker.py")]
        self.worker = Worker(command, options, {}, PATIENCE_S)

    def run(self, prompts: list[list[int]], tune: bool) -> tuple[float, list[list[int]]]:
        request = {"prompts": prompts, "output_tokens": [TOKENS] * len(prompts), "tune": tune}
        timeline = self.worker.ask(request, PATIENCE_S)
        return len(prompts) * TOKENS / timeline["events"][-1][0], timeline["ids"]


def compare(kind: str, num_prompts: int, repeats: int, engines: dict[str, Ours | Theirs]) -> Row:
    first = engines["redline ngram"]
    assert isinstance(first, Ours)
    prompts = WORK[kind](first.llm, num_prompts)
    rates: dict[str, list[float]] = {name: [] for name in engines}
    ids = {}
    for repeat in range(repeats + 1):
        for name, engine in engines.items():
            rate, ids[name] = engine.run(prompts, tune=repeat == 0)
            if repeat:
                rates[name].append(rate)
    medians = {name: statistics.median(each) for name, each in rates.items()}
    both = zip(ids["redline ngram"], ids["llama.cpp lookup"], strict=True)
    return {
        "text": kind,
        **{f"{name} tok/s": rate for name, rate in medians.items()},
        "ngram / lookup": medians["redline ngram"] / medians["llama.cpp lookup"],
        "plain / plain": medians["redline"] / medians["llama.cpp"],
        "same": statistics.mean(mine == other for mine, other in both),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=4, help="of each kind of text (default: 4)")
    parser.add_argument("--threads", type=int, default=num_cores(), help="default: all cores")
    parser.add_argument("--text", choices=KINDS, action="append", help="default: all")
    add_arguments(parser)
    args = parser.parse_args()
    lookup, plain = Theirs(LOOKUP, args.threads), Theirs(0, args.threads)
    engines = {
        "redline ngram": Ours("ngram", args.threads),
        "llama.cpp lookup": lookup,
        "redline": Ours(None, args.threads),
        "llama.cpp": plain,
    }
    with closing(lookup.worker), closing(plain.worker):
        rows = [compare(kind, args.prompts, args.repeats, engines) for kind in args.text or KINDS]
    report(args, "Redline's n-gram speculation against llama.cpp's prompt lookup", {"One at a time": rows})


if __name__ == "__main__":
    main()
