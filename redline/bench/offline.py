"""redline bench offline: speed and memory of one batch of equal requests, without a server.

How the numbers come about. A run gives `batch` random prompts of `prompt_tokens` to the engine at once.
One run stops after the first token of each answer, the other goes on to `output_tokens`:

    prefill tok/s = batch * prompt_tokens / duration of the short run
    decode tok/s  = tokens of the long run after the last prompt is done / the time they took

Each pair of runs has prompts of its own, so that no prefix can be reused between pairs, and the prefix
cache is off within one. Medians over the repeats, after one pair to warm up; a latency of a repeat is that of
its median request.
"""

from __future__ import annotations

import itertools
import random
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redline.bench.results.metric import Metric
from redline.config.sampling import SamplingParams
from redline.engine.outputs import RequestMetrics, RequestOutput
from redline.errors import ConfigError
from redline.llm import LLM


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A batch of requests of equal size."""

    batch: int = 1
    prompt_tokens: int = 128
    output_tokens: int = 64
    repeats: int = 3
    seed: int = 0

    def __str__(self) -> str:
        sizes = f"{self.batch} x {self.prompt_tokens} random tokens in, {self.output_tokens} out"
        return f"{sizes}, seed {self.seed}"

    def __post_init__(self) -> None:
        least = {"batch": 1, "prompt_tokens": 1, "output_tokens": 2, "repeats": 1}
        for name, low in least.items():
            value = getattr(self, name)
            if value < low:
                raise ConfigError(f"{name} is {value}; it must be at least {low}")

    def prompts(self, vocab_size: int, repeat: int) -> list[list[int]]:
        """Random token ids, the same for the same seed and repeat."""
        random_ids = random.Random(f"{self.seed}/{repeat}")
        return [
            [random_ids.randrange(vocab_size) for _ in range(self.prompt_tokens)] for _ in range(self.batch)
        ]


METRICS = {
    "prefill_tok_s": Metric("prefill", "tok/s", "higher", "median"),
    "decode_tok_s": Metric("decode", "tok/s", "higher", "median"),
    "ttft_s": Metric("TTFT", "s", "lower", "median"),
    "tpot_s": Metric("TPOT", "s", "lower", "median"),
    "e2e_s": Metric("all of it", "s", "lower", "median"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OfflineResult:
    """By METRICS, one value per repeat; and the memory of the process in bytes."""

    runs: dict[str, list[float]]
    peak_memory_bytes: int | None  # VmHWM; None where the system does not tell
    interrupted: bool = False  # by Ctrl-C, with these repeats

    def median(self, name: str) -> float:
        """Of one of METRICS: seconds, or tokens per second over the whole batch."""
        return statistics.median(self.runs[name])

    def measured(self) -> dict[str, Any]:
        """For a report, with the interval of each."""
        return {name: metric.measured(self.runs[name]) for name, metric in METRICS.items()}


def bench_offline(
    llm: LLM, workload: Workload, on_repeat: Callable[[int], None] | None = None
) -> OfflineResult:
    """Measure `workload` on `llm`; `on_repeat` hears how many repeats are done.

    KeyboardInterrupt ends it with the repeats so far; before the first there is nothing to give. Raises
    ConfigError when the model's context cannot hold a request, before any prompt is made.
    """
    tokens = workload.prompt_tokens + workload.output_tokens
    if tokens > llm.spec.max_context:
        raise ConfigError(
            f"prompt_tokens and output_tokens are {tokens} together; the model's context holds "
            f"{llm.spec.max_context}"
        )
    pairs, interrupted = [], False
    try:
        for repeat in range(workload.repeats + 1):  # the first one warms up
            pairs.append(_measure_pair(llm, workload, repeat))
            if on_repeat is not None:
                on_repeat(repeat)
    except KeyboardInterrupt:
        if len(pairs) < 2:
            raise
        interrupted = True
    runs = _runs(workload, pairs[1:])
    return OfflineResult(runs=runs, peak_memory_bytes=peak_memory_bytes(), interrupted=interrupted)


@dataclass(frozen=True, slots=True)
class _Pair:
    short_s: float
    long_s: float
    outputs: list[RequestOutput]  # of the long run


def _runs(workload: Workload, pairs: list[_Pair]) -> dict[str, list[float]]:
    return {
        "prefill_tok_s": [workload.batch * workload.prompt_tokens / pair.short_s for pair in pairs],
        "decode_tok_s": [decode_rate([output.metrics for output in pair.outputs]) for pair in pairs],
        "ttft_s": [_median(output.metrics.ttft_s for output in pair.outputs) for pair in pairs],
        "tpot_s": [_median(output.metrics.tpot_s for output in pair.outputs) for pair in pairs],
        "e2e_s": [pair.long_s for pair in pairs],
    }


def _measure_pair(llm: LLM, workload: Workload, repeat: int) -> _Pair:
    prompts = workload.prompts(llm.spec.vocab_size, repeat)
    short_s, _ = _run(llm, prompts, 1)
    long_s, outputs = _run(llm, prompts, workload.output_tokens)
    return _Pair(short_s, long_s, outputs)


def _run(llm: LLM, prompts: list[list[int]], max_tokens: int) -> tuple[float, list[RequestOutput]]:
    params = SamplingParams(max_tokens=max_tokens, temperature=0.0, ignore_eos=True)
    start_s = time.perf_counter()
    outputs = llm.generate(prompts, params)
    return time.perf_counter() - start_s, outputs


def decode_rate(requests: list[RequestMetrics]) -> float:
    """Tokens per second of all requests together, from the moment when the last of them has its first."""
    first_s = [each.arrival_s + each.ttft_s for each in requests]
    start_s = max(first_s)
    token_s = [
        time_s
        for first, each in zip(first_s, requests, strict=True)
        for time_s in itertools.accumulate(each.itl_s, initial=first)
    ]
    return sum(time_s > start_s for time_s in token_s) / (max(token_s) - start_s)


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)


def peak_memory_bytes() -> int | None:
    """The most memory this process has held in RAM so far (VmHWM)."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None
