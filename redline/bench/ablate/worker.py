"""One configuration in a process of its own: python -m redline.bench.ablate.worker OPTIONS.

Speaks JSON, one line each way, as redline/bench/workers/serve.py describes it. OPTIONS has `model` and
`engine`. A request names a load, its size and a repeat, and is answered by what was measured; or it names a
text and a file, and the logits of the text's second half go there.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from redline.bench.ablate.loads import LOADS, Ask, Load
from redline.bench.fidelity import teacher_forced
from redline.bench.workloads.text import Pages, cut_by, prose
from redline.engine.outputs import Delta, RequestMetrics
from redline.errors import RedlineError
from redline.llm import LLM, Stream

UNDER_WAY = 4  # tokens of an answer when the late prompt comes


def measure(llm: LLM, load: Load, repeat: int) -> dict[str, Any]:
    """One run of a load."""
    asks = load.asks(llm.tokenizer, repeat)
    start_s = time.perf_counter()
    run = _run_late if load.late_prompt_tokens else _run_together
    metrics, ids = run(llm, asks)
    seconds = time.perf_counter() - start_s
    num_output = sum(each.num_output_tokens for each in metrics)
    decoding = [each.tpot_s for each in metrics if each.num_output_tokens > 1]
    found = {
        "seconds": seconds,
        "ttft_s": statistics.median(each.ttft_s for each in metrics),
        "tpot_s": statistics.median(decoding) if decoding else None,
        "gap_s": max(metrics[0].itl_s, default=0.0),
        "rate": num_output / seconds,
        "prefill": sum(len(ask.prompt) for ask in asks) / max(each.ttft_s for each in metrics),
        "num_output_tokens": num_output,
        "kv_bytes": _kv_held(llm, start_s),
        "ids": ids,
    }
    return {**found, "value": value_of(load, found)}


def value_of(load: Load, found: dict[str, Any]) -> float:
    """The number that a load is about, in its unit."""
    if load.measure == "gap":
        return float(1e3 * found["gap_s"])
    return float(1 / found["tpot_s"] if load.measure == "decode" else found[load.measure])


def _run_together(llm: LLM, asks: list[Ask]) -> tuple[list[RequestMetrics], list[list[int]]]:
    outputs = llm.generate([ask.prompt for ask in asks], [ask.params for ask in asks])
    return [output.metrics for output in outputs], [output.choices[0].token_ids for output in outputs]


def _run_late(llm: LLM, asks: list[Ask]) -> tuple[list[RequestMetrics], list[list[int]]]:
    """The last one comes when the first is under way."""
    first = llm.stream(asks[0].prompt, asks[0].params)
    deltas = [[next(first) for _ in range(UNDER_WAY)]]
    late = llm.stream(asks[-1].prompt, asks[-1].params)
    deltas[0] += _all(first)
    deltas.append(_all(late))
    metrics = [each[-1].metrics for each in deltas]
    ids = [[token for delta in each for token in delta.token_ids] for each in deltas]
    return [each for each in metrics if each is not None], ids


def _all(stream: Stream) -> list[Delta]:
    return list(stream)


def _kv_held(llm: LLM, start_s: float) -> int:
    """The most bytes of K/V blocks that sequences held in a step since then, those of the first pool."""
    scheduler = llm._engine.scheduler
    num_blocks = scheduler.pools[0].num_blocks
    events = [each for each in scheduler.trace.events() if each.kind == "step" and each.time_s >= start_s]
    least = min((int(event.values[-1]) for event in events), default=num_blocks)
    return llm.kv_bytes * (num_blocks - least) // num_blocks


def predict(llm: LLM, num_tokens: int, path: Path) -> None:
    """Write the logits [T, vocabulary] of the second half of a text, as this configuration computes them."""
    page = Pages(*prose(), cut_by(llm.tokenizer), "fidelity").next(num_tokens + 16)
    ids = llm.tokenizer.encode(page, False)[:num_tokens]
    engine = llm._engine
    half = teacher_forced(engine.model.decoder, ids, engine._kv.dtype, first=len(ids) // 2)
    np.save(path, np.concatenate(list(half)))


def _answer(llm: LLM, request: dict[str, Any]) -> dict[str, Any]:
    if "predict" in request:
        predict(llm, request["num_tokens"], Path(request["predict"]))
        return {}
    load = LOADS[request["load"]].sized(small=request["small"])
    return measure(llm, load, request["repeat"])


def main() -> None:
    options = json.loads(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not mix with the answers

    def say(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    try:
        llm = LLM(options["model"], **options["engine"])
    except RedlineError as error:
        return say({"error": f"{type(error).__name__}: {error}"})
    say({"reasons": list(llm.reasons), "kv_bytes": llm.kv_bytes, "model": llm.model_name})
    for line in sys.stdin:
        try:
            say(_answer(llm, json.loads(line)))
        except RedlineError as error:
            say({"error": f"{type(error).__name__}: {error}"})
    return None


if __name__ == "__main__":
    main()
