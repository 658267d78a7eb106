"""bench_serve(): the same workload against one endpoint or several, in turns."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from redline.bench.serving.arrivals import Arrivals, Closed
from redline.bench.serving.call import Timeouts
from redline.bench.serving.connection import stamping
from redline.bench.serving.cpu import CpuMeter, CpuUse
from redline.bench.serving.endpoint import Endpoint
from redline.bench.serving.generator import LoadRun, generate_load
from redline.bench.serving.served import Count
from redline.bench.serving.slo import Slo
from redline.bench.serving.summary import summarise
from redline.bench.workloads import Workload

Progress = Callable[[int, int], None]


@dataclass
class Subject:
    """One endpoint, and what came of it. `pid`: of its process, where it is known."""

    name: str
    endpoint: Endpoint
    pid: int | None = None
    runs: list[LoadRun] = field(default_factory=list)
    cpu: list[CpuUse] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class ServePlan:
    """What every subject gets. `workload(repeat)` has new texts in each repeat; -1 is the warm-up."""

    workload: Callable[[int], Workload]
    arrivals: Arrivals
    timeouts: Timeouts
    repeats: int
    warm_up: int  # requests at once that do not count


async def bench_serve(
    subjects: Sequence[Subject], plan: ServePlan, progress: Progress = lambda done, total: None
) -> bool:
    """Warm all up, then let them take turns, every other round backwards. True when Ctrl-C ended it early.

    Runs are added to the subjects as they come, so that what there is can be reported.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, stop.set)
    try:
        with stamping():
            for subject in subjects:
                await _warm_up(subject, plan, stop)
            await _rounds(subjects, plan, stop, progress)
    finally:
        loop.remove_signal_handler(signal.SIGINT)
    return stop.is_set()


async def _warm_up(subject: Subject, plan: ServePlan, stop: asyncio.Event) -> None:
    workload = plan.workload(-1)
    few = Workload(workload.name, workload.summary, workload.sessions[: plan.warm_up])
    if few.sessions and not stop.is_set():
        await generate_load(subject.endpoint, few, Closed(plan.warm_up), plan.timeouts, stop)


async def _rounds(
    subjects: Sequence[Subject], plan: ServePlan, stop: asyncio.Event, progress: Progress
) -> None:
    done = 0
    for repeat in range(plan.repeats):
        workload = plan.workload(repeat)
        total = plan.repeats * len(subjects) * len(workload.requests)

        def one_more(total: int = total) -> None:
            nonlocal done
            done += 1
            progress(done, total)

        for subject in subjects if repeat % 2 == 0 else reversed(subjects):
            if stop.is_set():
                return
            meter = CpuMeter(subject.pid)
            meter.start()
            subject.runs.append(
                await generate_load(subject.endpoint, workload, plan.arrivals, plan.timeouts, stop, one_more)
            )
            subject.cpu.append(meter.stop())


def subject_report(subject: Subject, plan: ServePlan, slo: Slo | None, count: Count | None) -> dict[str, Any]:
    """What a report says about one subject."""
    endpoint = subject.endpoint
    return {
        "name": subject.name,
        "base_url": endpoint.base_url,
        "model": endpoint.model,
        "api": endpoint.api,
        **summarise(subject.runs, subject.cpu, len(plan.workload(0).requests), slo, count),
    }
