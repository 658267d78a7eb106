"""ablate(): measure each pair of configurations in alternating runs, each in a process of its own."""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from redline.bench.ablate.pairs import Pair
from redline.bench.ablate.ratios import Ratio
from redline.bench.ablate.switches import Setup
from redline.bench.fidelity import Fidelity, compare
from redline.bench.peers.environments import PeerFailed
from redline.bench.peers.process import Worker
from redline.techniques import TECHNIQUES

COMMAND = (sys.executable, "-m", "redline.bench.ablate.worker")
# NumPy multiplies for naive attention alone. Its own threads would wait for the cores that ours spin on.
BLAS = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
OPEN_TIMEOUT_S, RUN_TIMEOUT_S = 120.0, 600.0
FIDELITY_TOKENS, FEW_TOKENS = 512, 128  # of a text; plain engines are slow
PROMISES = {technique.name: technique for technique in TECHNIQUES}
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the command line asked for."""

    model: str
    repeats: int
    common: dict[str, Any]  # options of every configuration
    fidelity: bool = True


@dataclass(frozen=True)
class Run:
    """Everything that was measured with one configuration."""

    values: list[float]
    found: list[dict[str, Any]]
    peak_memory_bytes: int | None

    def median(self, name: str) -> float | None:
        """Over the runs; None where a load has no such number."""
        values = [each[name] for each in self.found]
        return None if None in values else statistics.median(values)


def ablate(
    pairs: Sequence[Pair], settings: Settings, rows: list[Row], progress: Callable[[int, int], None]
) -> None:
    """Add a row for each pair as it is done, so that an interrupt leaves what there is.

    `progress` hears (runs done, runs in all).
    """
    in_all = len(pairs) * 2 * (settings.repeats + 1)
    for number, pair in enumerate(pairs):
        before = number * 2 * (settings.repeats + 1)

        def tell(done: int, before: int = before) -> None:
            progress(before + done, in_all)

        tell(0)
        try:
            row = _measured(pair, settings, tell)
        except PeerFailed as failed:
            row = {"failure": str(failed)}
        rows.append(_described(pair) | row)
    progress(in_all, in_all)


def _described(pair: Pair) -> Row:
    technique = PROMISES.get(pair.switch.name)
    return {
        "start": pair.start,
        "technique": pair.switch.name,
        "techniques": list(pair.switch.techniques),
        "load": pair.load.name,
        "small": pair.small,
        "measure": pair.load.measure,
        "unit": pair.load.unit,
        "note": pair.note,
        "promise": promise_of(pair),
        "bound": None if technique is None or technique.limit is None else str(technique.limit),
        "claim": pair.switch.claim
        if pair.start == "best" and pair.load.name == pair.switch.loads[0]
        else None,
        "options_on": pair.on.options,
        "options_off": pair.off.options,
        "variables_off": pair.off.variables,
        "failure": None,
    }


def promise_of(pair: Pair) -> str:
    """The weakest of what its techniques promise. Threads are exact: batch invariance holds for them too."""
    found = {PROMISES[name].promise for name in pair.switch.techniques if name in PROMISES}
    return next((promise for promise in ("bound", "tolerance") if promise in found), "exact")


def _measured(pair: Pair, settings: Settings, progress: Callable[[int], None]) -> Row:
    with _worker(pair, pair.on, settings) as on, _worker(pair, pair.off, settings) as off:
        both = (on, off)
        found: tuple[list[dict[str, Any]], ...] = ([], [])
        for repeat in range(settings.repeats + 1):  # the first one warms up
            order = (0, 1) if repeat % 2 else (1, 0)
            for place in order:
                found[place].append(_ask(both[place], pair, repeat))
                progress(len(found[0]) + len(found[1]))
        runs = [
            Run([each["value"] for each in mine[1:]], mine[1:], worker.peak_memory_bytes())
            for mine, worker in zip(found, both, strict=True)
        ]
        lossy = promise_of(pair) != "exact"
        num_tokens = FEW_TOKENS if pair.small else FIDELITY_TOKENS
        fidelity = _fidelity(on, off, num_tokens) if lossy and settings.fidelity else None
    return _row(pair, runs[0], runs[1]) | {"fidelity": None if fidelity is None else asdict(fidelity)}


@contextmanager
def _worker(pair: Pair, setup: Setup, settings: Settings) -> Iterator[Worker]:
    options = {
        "model": settings.model,
        "engine": {**pair.load.options, **settings.common, **setup.options},
    }
    with ExitStack() as stack:
        worker = Worker(COMMAND, options, {**BLAS, **setup.variables}, OPEN_TIMEOUT_S)
        stack.callback(worker.close)
        yield worker


def _ask(worker: Worker, pair: Pair, repeat: int) -> dict[str, Any]:
    request = {"load": pair.load.name, "small": pair.small, "repeat": repeat}
    return worker.ask(request, RUN_TIMEOUT_S)


def _row(pair: Pair, on: Run, off: Run) -> Row:
    ratio = Ratio.of(on.values, off.values, higher_is_better=pair.load.measure != "gap")
    answers = [
        mine == other
        for ours, theirs in zip(on.found, off.found, strict=True)
        for mine, other in zip(ours["ids"], theirs["ids"], strict=True)
    ]
    sides = {
        f"{name}_{side}": value for side, run in (("on", on), ("off", off)) for name, value in _side(run)
    }
    return {
        "ratio": asdict(ratio),
        "answers": len(answers),
        "same_answers": sum(answers),
        **sides,
    }


def _side(run: Run) -> list[tuple[str, Any]]:
    names = ("ttft_s", "tpot_s", "kv_bytes")
    return [
        ("values", run.values),
        ("median", statistics.median(run.values)),
        ("peak_memory_bytes", run.peak_memory_bytes),
        *((name, run.median(name)) for name in names),
    ]


def _fidelity(on: Worker, off: Worker, num_tokens: int) -> Fidelity:
    """How far predictions with the techniques are from those without."""
    with tempfile.TemporaryDirectory(prefix="redline-ablate-") as folder:
        logits = []
        for name, worker in (("off", off), ("on", on)):
            path = Path(folder) / f"{name}.npy"
            worker.ask({"predict": str(path), "num_tokens": num_tokens}, RUN_TIMEOUT_S)
            logits.append(np.load(path))
        return compare([(logits[0], logits[1])])


def is_broken(row: Row) -> bool:
    """Whether an exact technique changed an answer.

    Not judged where attention is naive: what NumPy multiplies may be rounded otherwise in another batch.
    """
    if row["failure"] is not None or row["promise"] != "exact":
        return False
    flash = row["options_on"]["flash_attention"] and row["options_off"]["flash_attention"]
    return bool(flash and row["same_answers"] < row["answers"])
