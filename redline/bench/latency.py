"""bench_latency(): how long one request, or one batch of equal ones, takes when nothing else runs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from redline.bench.against import REST_S, Seat, Tell, measure
from redline.bench.cases import Part
from redline.bench.peers.environments import PeerFailed
from redline.bench.results.metric import Metric

PERCENTILES = (50, 90, 99)
MOST_BATCH = 64  # that workers are started for
NAMES = {"ttft": "TTFT", "tpot": "TPOT", "e2e": "end to end"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """So many equal requests at once, and how long they are, in tokens."""

    batch: int
    input_tokens: int
    output_tokens: int

    @property
    def part(self) -> Part:
        """Random prompts, others in each round."""
        return Part(
            name=str(self),
            metric="total",
            batch=self.batch,
            prompt_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
        )

    def __str__(self) -> str:
        return f"{self.input_tokens} in, {self.output_tokens} out, batch {self.batch}"


@dataclass(kw_only=True)
class Timed:
    """One engine's times: by cell, a list for each run, of a dictionary for each round."""

    seat: Seat
    failure: str | None = None
    runs: dict[Cell, list[list[dict[str, float]]]] = field(default_factory=dict)


def bench_latency(
    subjects: Sequence[Timed],
    cells: Sequence[Cell],
    repeats: int,
    iterations: int,
    seed: int,
    tell: Tell,
) -> None:
    """Run all cells on all engines in turns, `repeats` runs of `iterations` rounds after one to warm up.

    What is measured is added as it comes, so that an interrupt leaves what there is. Seats are left open.
    """
    for cell in cells:
        for repeat in range(repeats + 1):
            for subject in subjects if repeat % 2 else reversed(subjects):
                if subject.failure is None:
                    tell(f"{cell}: run {repeat} of {repeats}, {subject.seat.engine.name}")
                    _run(subject, cell, repeat, iterations if repeat else 1, seed, tell)


def _run(subject: Timed, cell: Cell, repeat: int, iterations: int, seed: int, tell: Tell) -> None:
    part, rounds = cell.part, []
    try:
        worker = subject.seat.open(tell)
        time.sleep(REST_S)
        for iteration in range(iterations):
            load = part.load(worker.hello["vocab_size"], seed, repeat * iterations + iteration + 1)
            request = {"prompts": load.prompts, "output_tokens": load.output_tokens, "tune": repeat == 0}
            answer = worker.ask(request, part.timeout_s * (1 if repeat else 4))
            measure(part, load, answer)  # refuses an answer that is not what was asked for
            rounds += _times(answer, cell.output_tokens)
    except PeerFailed as failed:
        subject.failure = str(failed)
        subject.seat.close()
        return
    if repeat:
        subject.runs.setdefault(cell, []).append(rounds)


def _times(answer: dict[str, Any], output_tokens: int) -> list[dict[str, float]]:
    """Of each request of a batch; they end together, since they are equal."""
    end_s = answer["events"][-1][0]
    return [
        {"ttft": first_s, "tpot": (end_s - first_s) / (output_tokens - 1), "e2e": end_s}
        for first_s in answer["first_s"]
    ]


def metrics_of(subject: Timed) -> dict[str, Any]:
    """For a report: percentiles of each run over its rounds and requests."""
    found = {}
    for cell, runs in subject.runs.items():
        for name, title in NAMES.items():
            of_runs = [np.percentile([each[name] for each in run], PERCENTILES) for run in runs]
            for place, share in enumerate(PERCENTILES):
                metric = Metric(f"{cell}: {title} p{share}", "s", "lower")
                found[f"{cell} {name}_p{share}_s"] = metric.measured([float(run[place]) for run in of_runs])
    return found
