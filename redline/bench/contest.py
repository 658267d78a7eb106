"""A comparison from start to end: environments, twins, engines, runs, ceilings, and one report."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from redline import env
from redline.bench.against import Engine, Row, Seat, Tell, compare
from redline.bench.cases import Case
from redline.bench.ceiling import Ceiling
from redline.bench.contest_rows import REDLINE, rows_of, subjects_of
from redline.bench.environment import environment
from redline.bench.footprint import Footprint
from redline.bench.peers.environments import PeerFailed, environment_python
from redline.bench.peers.process import WORKERS, start
from redline.bench.peers.registry import Peer
from redline.errors import ConfigError

MAX_SEQUENCES = 64
TWIN_TIMEOUT_S = 300.0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the command line asked for."""

    model: Path
    threads: int
    peers: Sequence[Peer]
    cases: Sequence[Case]
    repeats: int
    seed: int
    isa: str  # "native", or what every engine is held to
    twins: bool
    options: Mapping[str, Any]  # of Redline's engine

    def __post_init__(self) -> None:
        if self.peers and self.model.is_dir():
            raise ConfigError(
                f"--against needs a GGUF file, which every peer can read; {self.model} is a directory"
            )


def contest(settings: Settings, tell: Tell) -> dict[str, Any]:
    """Run everything and return the report. `tell` hears what is going on, a line at a time.

    Ctrl-C ends the runs; the report has what was measured until then. Raises ConfigError when Redline itself
    cannot open the model.
    """
    load_before = os.getloadavg()[0]
    seats = [Seat(engine=engine) for engine in engines(settings, tell)]
    rows: list[Row] = []
    interrupted = False
    try:
        try:
            ours = seats[0].open(tell)
        except PeerFailed as failed:
            raise ConfigError(f"Redline cannot open {settings.model}: {failed}") from None
        vocab_size = ours.hello["vocab_size"]
        model = Footprint(**ours.hello["footprint"])
        compare(seats, settings.cases, settings.repeats, settings.seed, vocab_size, tell, rows)
    except KeyboardInterrupt:
        if not rows:
            raise
        interrupted = True
    finally:
        for seat in seats:
            seat.close()
    tell("measuring the machine's ceilings")
    ceiling = Ceiling.measure(settings.threads, settings.isa, model.step_bytes(0))
    found = rows_of(settings.cases, rows, ceiling, model)
    return {
        "kind": "offline --against",
        "measured": _measured(settings),
        "date": datetime.date.today().isoformat(),
        "model": settings.model.name,
        "model_bytes": settings.model.stat().st_size,
        "threads": settings.threads,
        "isa": settings.isa,
        "repeats": settings.repeats,
        "seed": settings.seed,
        "interrupted": interrupted,
        "load_before": load_before,
        "environment": asdict(environment()),
        "footprint": asdict(model),
        "ceiling": ceiling.as_dict(),
        "engines": {seat.engine.name: _described(seat) for seat in seats},
        "cases": {case.name: case.summary for case in settings.cases},
        "rows": found,
        "subjects": subjects_of(found),
    }


def _measured(settings: Settings) -> dict[str, Any]:
    """What two reports must share for their numbers to be comparable."""
    return {
        "workload": {"seed": settings.seed, **{case.name: case.summary for case in settings.cases}},
        "model": settings.model.name,
        "threads": settings.threads,
        "isa": settings.isa,
    }


def _described(seat: Seat) -> dict[str, Any]:
    return {
        "launch": seat.hello.get("launch"),
        "reads": seat.engine.reads,
        "variables": seat.engine.variables,
        "peak_memory_bytes": seat.peak_memory_bytes,
    }


def engines(settings: Settings, tell: Tell) -> list[Engine]:
    """Redline, then the peers, each ready to be started or with the reason why it cannot be."""
    variables = {"REDLINE_ISA": settings.isa} if settings.isa != "native" else {}
    ours = Engine(
        name=REDLINE,
        reads="itself",
        command=(sys.executable, str(WORKERS / "redline_worker.py")),
        options={**_options(settings, settings.model), "engine": dict(settings.options)},
        variables=variables,
    )
    return [ours, *(engine for peer in settings.peers for engine in _peer_engines(peer, settings, tell))]


def _peer_engines(peer: Peer, settings: Settings, tell: Tell) -> list[Engine]:
    """The peer on the file, and on its twins. One that cannot be prepared is a row all the same."""
    files: list[tuple[str, Path | PeerFailed]] = [("", settings.model)]
    try:
        python = str(environment_python(peer, settings.isa, tell))
    except PeerFailed as failed:
        python, files = "", [("", failed)]
    else:
        for kind in peer.twins if settings.twins else ():
            files.append((f" {kind}", _twin(peer, python, kind, settings, tell)))
    return [_peer_engine(peer, python, suffix, file, settings) for suffix, file in files]


def _peer_engine(peer: Peer, python: str, suffix: str, file: Path | PeerFailed, settings: Settings) -> Engine:
    failure = str(file) if isinstance(file, PeerFailed) else None
    path = settings.model if isinstance(file, PeerFailed) else file
    return Engine(
        name=peer.name + suffix,
        reads=f"a twin that it requantised to{suffix}" if suffix else peer.reads,
        command=(python, str(WORKERS / peer.worker)),
        options=_options(settings, path),
        variables=peer.limits.get(settings.isa, {}),
        open_timeout_s=peer.open_timeout_s,
        failure=failure,
    )


def _options(settings: Settings, model: Path) -> dict[str, Any]:
    return {
        "model": str(model),
        "threads": settings.threads,
        "max_sequences": MAX_SEQUENCES,
        "max_tokens": max((part.max_tokens for case in settings.cases for part in case.parts), default=256),
        "twins": str(_twins()),
        "prefix_caching": any(part.shared_tokens for case in settings.cases for part in case.parts),
    }


def _twins() -> Path:
    return env.cache_dir() / "peers" / "twins"


def _twin(peer: Peer, python: str, kind: str, settings: Settings, tell: Tell) -> Path | PeerFailed:
    """The file in another format, made by the peer and kept in the cache."""
    source = settings.model
    path = _twins() / f"{source.stem}.{source.stat().st_size}.{kind}.gguf"
    if path.exists():
        return path
    tell(f"requantising {source.name} to {kind}")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    options = {**_options(settings, source), "twin": {"path": str(unfinished), "type": kind}}
    try:
        with start(
            (python, str(WORKERS / peer.worker)), options, {}, subprocess.DEVNULL, subprocess.DEVNULL
        ) as process:
            process.communicate(timeout=TWIN_TIMEOUT_S)
    except (PeerFailed, subprocess.TimeoutExpired) as error:
        return PeerFailed(f"could not make a {kind} twin: {error}")
    if process.returncode or not unfinished.exists():
        return PeerFailed(f"could not make a {kind} twin: exit code {process.returncode}")
    unfinished.rename(path)
    return path
