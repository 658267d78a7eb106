"""redline bench sweep: batch size by experiment.

The same load runs with every batch size and token budget, on one loaded model; only the scheduler is new for
each run, so no run finds what another one left in the prefix index. The first run warms up: the largest
setting, whose end passes through every smaller batch. Then each repeat goes through all settings, every other
one backwards, so that a machine that slows down is no one's disadvantage. Medians over the repeats.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from redline.bench.sweep.drive import drive
from redline.bench.sweep.grid import Setting
from redline.bench.sweep.load import Load
from redline.bench.sweep.measure import Measured, measure, medians
from redline.bench.sweep.target import Target
from redline.engine.outputs import RequestMetrics
from redline.engine.scheduling import build_scheduler
from redline.errors import ConfigError
from redline.llm import LLM

PERCENTILES = (50.0, 95.0, 99.0)
Run = Callable[[Setting, int, Callable[[], None]], list[RequestMetrics]]  # setting, repeat, on each request


@dataclass(slots=True)
class Swept:
    """A setting and what was measured of it so far."""

    setting: Setting
    runs: list[Measured] = field(default_factory=list)

    @property
    def median(self) -> Measured:
        return medians(self.runs)


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlan:
    """What is run, how often, and what is asked of it. Raises ConfigError when the load is too small."""

    settings: Sequence[Setting]
    load: Load
    target: Target
    repeats: int = 3

    def __post_init__(self) -> None:
        if self.repeats < 1:
            raise ConfigError(f"--repeats is {self.repeats}; it must be at least 1")
        if self.load.requests < (least := least_requests(self.settings, self.load.rate)):
            raise ConfigError(
                f"--requests is {self.load.requests}; it must be at least {least}, twice the largest batch, "
                "because the requests that fill it first do not count"
            )

    @property
    def percentiles(self) -> list[float]:
        return sorted({*PERCENTILES, self.target.percentile})

    def fill(self, setting: Setting) -> int:
        """How many requests come at once at the start of a run."""
        return setting.max_batch if self.load.rate is None else 1

    @property
    def num_runs(self) -> int:
        """The one that warms up included."""
        return 1 + self.repeats * len(self.settings)


def least_requests(settings: Sequence[Setting], rate: float | None) -> int:
    """Fewer do not show what a setting does."""
    return 2 if rate is not None else 2 * max(setting.max_batch for setting in settings)


def sweep(
    run: Run, plan: SweepPlan, on_request: Callable[[int, int], None] = lambda done, total: None
) -> tuple[list[Swept], bool]:
    """Every setting that was measured, in the plan's order, and whether Ctrl-C ended it early.

    `on_request` hears how many requests are done, and of how many. KeyboardInterrupt before the first run is
    measured goes on to the caller.
    """
    swept = [Swept(setting) for setting in plan.settings]
    done, total = 0, plan.num_runs * plan.load.requests

    def one_done() -> None:
        nonlocal done
        done += 1
        on_request(done, total)

    try:
        run(max(plan.settings, key=lambda setting: setting.max_batch), 0, one_done)
        for repeat in range(1, plan.repeats + 1):
            for each in swept if repeat % 2 else reversed(swept):
                metrics = run(each.setting, repeat, one_done)
                each.runs.append(measure(metrics, plan.fill(each.setting), plan.percentiles))
    except KeyboardInterrupt:
        measured = [each for each in swept if each.runs]
        if not measured:
            raise
        return measured, True
    return swept, False


def runs_of(llm: LLM, load: Load) -> Run:
    """Runs of `load` on an opened model whose max_batch is that of the largest setting.

    Raises ConfigError when the model's context cannot hold the longest request.
    """
    if load.max_tokens > llm.max_context:
        raise ConfigError(
            f"--prompt-tokens and --output-tokens make requests of up to {load.max_tokens} tokens with "
            f"{load.lengths} lengths; the context holds {llm.max_context}. Lower them"
            + (", or take --lengths fixed" if load.lengths == "heavy" else "")
        )
    engine = llm._engine
    num_blocks = [pool.num_blocks for pool in engine.scheduler.pools]

    def run(setting: Setting, repeat: int, on_request: Callable[[], None]) -> list[RequestMetrics]:
        config = replace(llm.config, max_batch=setting.max_batch, chunked_prefill=setting.chunked_prefill)
        engine.reschedule(build_scheduler(config, llm.spec.windows, num_blocks, llm.max_context))
        requests = load.drawn(llm.spec.vocab_size, repeat)
        concurrency = setting.max_batch if load.rate is None else None
        return drive(engine, requests, concurrency, on_request)

    return run
