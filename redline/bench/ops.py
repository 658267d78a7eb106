"""redline bench ops: each op at the shapes of a model, beside the roofline of the machine.

The roofline of a call is the larger of two times (Williams et al., 2009): its bytes at the read bandwidth
that this machine has over as much memory, and its multiply-adds at the peak of their kind. Weights and K/V
rotate through copies, as the layers of a model follow each other, so that no call finds what the last left
in a cache. Each round goes through all trials with arrays of their own: samples of one trial that follow
each other are more alike than those of the next run, and would make its interval too narrow.
bench/op_trials.py has the table of trials; a new op is a function there.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from redline.bench.ceiling import Ceiling, read_bandwidth
from redline.bench.op_trials import TRIALS, Trial
from redline.bench.results.metric import Metric
from redline.errors import ConfigError
from redline.models.spec import ModelSpec

SAMPLE_S = 0.01  # at least; shorter calls are repeated until they take as long
MIN_BUFFER = 1 << 20  # below it, starting a pass would be measured


@dataclass(frozen=True, slots=True, kw_only=True)
class OpResult:
    """One op at one shape. Times in seconds per call, one sample for each round."""

    name: str
    op: str
    shape: str
    rows: int
    bytes: int
    macs: int
    ceiling_s: float
    bound: str  # "memory" or "compute": what the ceiling is made of
    samples: list[float] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return statistics.median(self.samples)

    @property
    def share(self) -> float:
        """Of the ceiling's speed; 1 is the most there is."""
        return self.ceiling_s / self.seconds

    def measured(self) -> dict[str, Any]:
        """For a report, with the interval of the median."""
        return Metric(self.name, "s", "lower", "median").measured(self.samples)

    def as_dict(self) -> dict[str, Any]:
        """For a report, with rates per second."""
        rates = {"bytes_s": self.bytes / self.seconds, "macs_s": self.macs / self.seconds}
        return {**asdict(self), "seconds": self.seconds, **rates, "share": self.share}


def bench_ops(
    spec: ModelSpec,
    ops: Any,
    rows: Sequence[int],
    formats: Sequence[str],
    ceiling: Ceiling,
    only: str = "",
    repeats: int = 5,
    tell: Callable[[str], None] = lambda line: None,
) -> tuple[list[OpResult], bool]:
    """Every trial of the groups (TRIALS) with `only` in their name; and whether that is not all.

    KeyboardInterrupt ends it with the samples so far; before the first there is nothing to give. Raises
    ConfigError when there is no such group.
    """
    if not any(only in make.__name__ for make in TRIALS):
        groups = ", ".join(make.__name__ for make in TRIALS)
        raise ConfigError(f"--only is {only[:40]!r}; it must be a part of one of {groups}")
    results: dict[str, OpResult] = {}
    roof = Roof(ceiling)
    try:
        for repeat in range(1, repeats + 1):
            for trial in trials(spec, ops, rows, formats, only):
                tell(f"round {repeat} of {repeats}: {trial.op} {trial.shape}, {trial.rows} rows")
                result = results.get(name_of(trial)) or _unmeasured(trial, roof)
                result.samples.append(seconds_per_call(trial.call))
                results[result.name] = result
    except KeyboardInterrupt:
        if not results:
            raise
        return list(results.values()), True
    return list(results.values()), False


def _unmeasured(trial: Trial, roof: Roof) -> OpResult:
    ceiling_s, bound = roof.seconds(trial)
    return OpResult(
        name=name_of(trial),
        op=trial.op,
        shape=trial.shape,
        rows=trial.rows,
        bytes=trial.bytes,
        macs=trial.macs,
        ceiling_s=ceiling_s,
        bound=bound,
    )


def name_of(trial: Trial) -> str:
    """Of its own among all trials."""
    return f"{trial.op}, {trial.shape}, {trial.rows} rows"


def trials(
    spec: ModelSpec, ops: Any, rows: Sequence[int], formats: Sequence[str], only: str
) -> Iterator[Trial]:
    """One trial at a time: its arrays are freed before the next one's are made."""
    for make in TRIALS:
        if only in make.__name__:
            yield from make(spec, ops, rows, formats)


class Roof:
    """The ceiling of a trial. Bandwidth is measured once per size, rounded to a power of two."""

    def __init__(self, ceiling: Ceiling) -> None:
        self._ceiling = ceiling
        self._bandwidth: dict[int, float] = {}

    def seconds(self, trial: Trial) -> tuple[float, str]:
        """The least time of one call, and what it is spent on."""
        memory_s = trial.bytes / self._read_bytes(trial.working_set)
        compute_s = trial.macs / self._macs(trial.kind)
        return max(memory_s, compute_s), "memory" if memory_s >= compute_s else "compute"

    def _macs(self, kind: str) -> float:
        kinds = {
            "int8": self._ceiling.int8_macs,
            "float": self._ceiling.float_macs,
            "f32": self._ceiling.macs["f32"],
        }
        return kinds[kind]

    def _read_bytes(self, working_set: int) -> float:
        size = max(MIN_BUFFER, 1 << (working_set - 1).bit_length())
        if size not in self._bandwidth:
            self._bandwidth[size] = read_bandwidth(self._ceiling.threads, num_bytes=size)
        return self._bandwidth[size]


def seconds_per_call(call: Callable[[], object]) -> float:
    """The mean of as many calls as fill SAMPLE_S, after as many to warm up."""
    count = 1
    while (elapsed_s := _elapsed_s(call, count)) < SAMPLE_S:
        count = max(2 * count, int(1.2 * count * SAMPLE_S / max(elapsed_s, 1e-6)))
    return _elapsed_s(call, count) / count


def _elapsed_s(call: Callable[[], object], count: int) -> float:
    start_s = time.perf_counter()
    for _ in range(count):
        call()
    return time.perf_counter() - start_s
