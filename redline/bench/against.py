"""The comparison: every engine gets the same load in turn, round after round.

Each engine runs in a process of its own, Redline too. One that fails loses the case, with the reason in its
row, and is started again for the next one.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from redline.bench.cases import FIRST_TOKEN, FIRST_TOKEN_PROMPT, Case, Load, Part
from redline.bench.peers.environments import PeerFailed
from redline.bench.peers.process import Worker, first_text_s

Tell = Callable[[str], None]
FIRST_TEXT_TIMEOUT_S = 180.0
REST_S = 0.3  # between two turns: threads of the last engine may still spin


@dataclass(frozen=True, kw_only=True)
class Engine:
    """One engine on one file, and how to start it."""

    name: str
    reads: str  # what it makes of the file
    command: tuple[str, ...]
    options: dict[str, Any]
    variables: dict[str, str] = field(default_factory=dict)
    open_timeout_s: float = 120.0
    failure: str | None = None  # it could not even be prepared


@dataclass(kw_only=True)
class Row:
    """One engine's runs of one part of a case, or why there are none."""

    case: str
    part: str
    engine: str
    unit: str  # "tok/s", "s" or "x"
    values: list[float] = field(default_factory=list)
    failure: str | None = None
    first_ids: list[int] = field(default_factory=list)  # the first token of every answer, over all rounds

    @property
    def median(self) -> float | None:
        return statistics.median(self.values) if self.values and self.failure is None else None


@dataclass(kw_only=True)
class Seat:
    """An engine's place in the comparison: its worker while it lives, and what it said."""

    engine: Engine
    worker: Worker | None = None
    hello: dict[str, Any] = field(default_factory=dict)
    peak_memory_bytes: int | None = None

    def open(self, tell: Tell) -> Worker:
        """The running worker, started if it is not. Raises PeerFailed."""
        if self.engine.failure is not None:
            raise PeerFailed(self.engine.failure)
        if self.worker is None:
            tell(f"starting {self.engine.name}")
            engine = self.engine
            self.worker = Worker(engine.command, engine.options, engine.variables, engine.open_timeout_s)
            self.hello.update(self.worker.hello)
        return self.worker

    def close(self) -> None:
        """End the worker, keeping what it used."""
        if self.worker is not None:
            used = self.worker.peak_memory_bytes()
            self.peak_memory_bytes = max(used or 0, self.peak_memory_bytes or 0) or None
            self.worker.close()
            self.worker = None


def compare(
    seats: Sequence[Seat],
    cases: Sequence[Case],
    repeats: int,
    seed: int,
    vocab_size: int,
    tell: Tell,
    rows: list[Row],
) -> None:
    """Run the cases on all engines and add to `rows` as they come, so that an interrupt leaves what there is.

    Workers are left running; the caller closes the seats.
    """
    for case in cases:
        if case.name == FIRST_TOKEN:
            _first_token(seats, repeats, tell, rows)
            continue
        for part in case.parts:
            _run_part(case, part, seats, repeats, seed, vocab_size, tell, rows)
        if case.ratio is not None:
            first, last = ([row for row in rows if row.part == case.parts[i].name] for i in (0, -1))
            rows += [_ratio(case, *pair) for pair in zip(first, last, strict=True)]


def _run_part(
    case: Case,
    part: Part,
    seats: Sequence[Seat],
    repeats: int,
    seed: int,
    vocab_size: int,
    tell: Tell,
    rows: list[Row],
) -> None:
    unit = "s" if part.metric == "total" else "tok/s"
    mine = [Row(case=case.name, part=part.name, engine=seat.engine.name, unit=unit) for seat in seats]
    rows += mine
    rounds = min(repeats, part.most_repeats)
    for repeat in range(rounds + 1):  # the first one warms up
        load = part.load(vocab_size, seed, repeat)
        for seat, row in zip(seats, mine, strict=True):
            if row.failure is None:
                tell(f"{part.name}: round {repeat} of {rounds}, {seat.engine.name}")
                _run_turn(seat, row, part, load, warm_up=repeat == 0, tell=tell)


def _run_turn(seat: Seat, row: Row, part: Part, load: Load, *, warm_up: bool, tell: Tell) -> None:
    try:
        worker = seat.open(tell)
        time.sleep(REST_S)
        request = {"prompts": load.prompts, "output_tokens": load.output_tokens, "tune": warm_up}
        # Settings are tried, and code is compiled, in the first round.
        answer = worker.ask(request, part.timeout_s * (4 if warm_up else 1))
        value = measure(part, load, answer)
    except PeerFailed as failed:
        row.failure = str(failed)
        seat.close()
        return
    seat.hello["launch"] = answer.get("launch", seat.hello.get("launch"))
    if not warm_up:
        row.values.append(value)
        row.first_ids += [ids[0] for ids in answer["ids"]]


def measure(part: Part, load: Load, answer: dict[str, Any]) -> float:
    """The number of one turn: tokens per second, or seconds of a whole load.

    Decoding is timed from the moment when the last prompt has its first token. Raises PeerFailed when the
    engine did not compute what it was asked to.
    """
    counts = [len(ids) for ids in answer["ids"]]
    if counts != load.output_tokens:
        raise PeerFailed(f"made {sum(counts)} tokens instead of {sum(load.output_tokens)}")
    first_s, end_s = max(answer["first_s"]), answer["events"][-1][0]
    if part.metric == "total":
        return float(end_s)
    if part.metric == "prefill":
        return float(sum(len(prompt) for prompt in load.prompts) / first_s)
    return float(sum(count for at_s, count in answer["events"] if at_s > first_s) / (end_s - first_s))


def _ratio(case: Case, first: Row, last: Row) -> Row:
    """How a rate, or the time of a whole prompt, changes from a case's first part to its last, by round."""
    assert case.ratio is not None
    row = Row(case=case.name, part=case.ratio, engine=first.engine, unit="x")
    row.failure = first.failure or last.failure
    if row.failure is None:
        lengths = case.parts[-1].prompt_tokens / case.parts[0].prompt_tokens
        rates = [after / before for before, after in zip(first.values, last.values, strict=True)]
        row.values = [lengths / rate if case.ratio_of_times else rate for rate in rates]
    return row


def _first_token(seats: Sequence[Seat], repeats: int, tell: Tell, rows: list[Row]) -> None:
    mine = [Row(case=FIRST_TOKEN, part=FIRST_TOKEN, engine=seat.engine.name, unit="s") for seat in seats]
    rows += mine
    for repeat in range(repeats + 1):  # the first one fills the page cache
        for seat, row in zip(seats, mine, strict=True):
            engine = seat.engine
            row.failure = row.failure or engine.failure
            if row.failure is not None:
                continue
            tell(f"{FIRST_TOKEN}: round {repeat} of {repeats}, {engine.name}")
            options = {**engine.options, "prompt": FIRST_TOKEN_PROMPT}
            try:
                seconds = first_text_s(engine.command, options, engine.variables, FIRST_TEXT_TIMEOUT_S)
            except PeerFailed as failed:
                row.failure = str(failed)
                continue
            if repeat:
                row.values.append(seconds)
