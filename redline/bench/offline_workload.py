"""redline bench offline --workload: a named workload given to an engine in this process, all at once.

Turns of a session wait for the turns before them, as they do at a server: round after round.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from redline.bench.results.metric import Metric
from redline.bench.workloads import Workload
from redline.config.sampling import SamplingParams
from redline.llm import LLM

METRICS = {
    "output_tok_s": Metric("output", "tok/s", "higher"),
    "total_tok_s": Metric("input and output", "tok/s", "higher"),
    "ttft_p50_s": Metric("TTFT p50", "s", "lower"),
    "tpot_p50_s": Metric("TPOT p50", "s", "lower"),
    "cached_share": Metric("prompt tokens cached", "%", "higher"),
    "duration_s": Metric("all of it", "s", "lower"),
}


def bench_workload(
    llm: LLM,
    workload_of: Callable[[int], Workload],
    repeats: int,
    on_repeat: Callable[[int], None] = lambda done: None,
) -> tuple[dict[str, Any], bool]:
    """The metrics of `workload_of(repeat)` after one run to warm up, and whether runs are missing.

    KeyboardInterrupt ends it with the runs so far; before the first there is nothing to give.
    """
    runs, interrupted = [], False
    try:
        for repeat in range(repeats + 1):
            runs.append(_run(llm, workload_of(repeat)))
            on_repeat(repeat)
    except KeyboardInterrupt:
        if len(runs) < 2:
            raise
        interrupted = True
    metrics = {name: metric.measured([run[name] for run in runs[1:]]) for name, metric in METRICS.items()}
    return metrics, interrupted


def _run(llm: LLM, workload: Workload) -> dict[str, float]:
    outputs, start_s = [], time.perf_counter()
    for turn in workload.rounds():
        params = [
            SamplingParams(max_tokens=request.output_tokens, temperature=0.0, ignore_eos=True)
            for request in turn
        ]
        outputs += llm.generate([request.prompt for request in turn], params)
    duration_s = time.perf_counter() - start_s
    metrics = [output.metrics for output in outputs]
    made = sum(len(output.choices[0].token_ids) for output in outputs)
    read = sum(each.num_prompt_tokens for each in metrics)
    return {
        "output_tok_s": made / duration_s,
        "total_tok_s": (made + read) / duration_s,
        "ttft_p50_s": float(np.median([each.ttft_s for each in metrics])),
        "tpot_p50_s": float(np.median([each.tpot_s for each in metrics])),
        "cached_share": sum(each.num_cached_tokens for each in metrics) / read,
        "duration_s": duration_s,
    }
