"""bench_startup(): from nothing to the first token, phase by phase, with a cold and a warm file cache."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from redline.bench.against import Engine, Tell
from redline.bench.cases import FIRST_TOKEN_PROMPT
from redline.bench.file_cache import cached_share, forget
from redline.bench.peers.environments import PeerFailed
from redline.bench.peers.process import WORKERS, first_text_s
from redline.bench.results.metric import Metric
from redline.bench.serving.arrivals import Closed
from redline.bench.serving.call import Timeouts
from redline.bench.serving.endpoint import Endpoint
from redline.bench.serving.generator import generate_load
from redline.bench.serving.own_server import OwnServer
from redline.bench.serving.probe import probe
from redline.bench.workloads import Request, Workload
from redline.errors import ConfigError

TIMEOUT_S = 180.0
COLD_SHARE = 0.1  # of a file in memory, up to which a start counts as cold
PHASES = {
    "python_s": "Python starts",
    "import_s": "import redline",
    "load_s": "load the model",
    "first_token_s": "first token",
    "total_s": "all, to the first token",
    "server_ready_s": "redline serve: ready",
    "server_first_token_s": "redline serve: first token after that",
}


class Start(Protocol):
    """One way to start: returns the seconds of each phase. Raises PeerFailed, ConfigError."""

    def __call__(self) -> dict[str, float]: ...


@dataclass(kw_only=True)
class Starter:
    """A subject, with one or more ways to start it. `cold`: the system forgets `model` before each."""

    name: str
    starts: Sequence[Start]
    model: Path
    cold: bool
    failure: str | None = None
    runs: list[dict[str, float]] = field(default_factory=list)
    cached: list[float | None] = field(default_factory=list)  # share of the model in memory before a start

    @property
    def metrics(self) -> dict[str, Any]:
        """Of the runs so far, for a report."""
        return {
            name: Metric(title, "s", "lower").measured([run[name] for run in self.runs])
            for name, title in PHASES.items()
            if self.runs and name in self.runs[0]
        }

    def notes(self) -> list[str]:
        """How cold or warm it really was."""
        if self.failure is not None:
            return [f"Failed: {self.failure}"]
        known = [share for share in self.cached if share is not None]
        if not known:
            return ["The system does not tell what of the model's file was in memory."]
        share = max(known) if self.cold else min(known)
        bound = "at most" if self.cold else "at least"
        line = f"Before each start {bound} {share:.0%} of the model's file was in memory."
        if not self.cold:
            return [line]
        if share > COLD_SHARE:
            line += " So this was no cold start: another process holds the file, or the system keeps it."
        return [
            f"{line} Python and its libraries were in memory; the disk, or a host below this system, may "
            "keep what it has read."
        ]


def bench_startup(starters: Sequence[Starter], repeats: int, tell: Tell) -> None:
    """Start all in turns, `repeats` times after one that fills the caches. Runs are added as they come."""
    for repeat in range(repeats + 1):
        for starter in starters:
            if starter.failure is None:
                tell(f"{starter.name}: start {repeat} of {repeats}")
                _one(starter, counts=repeat > 0)


def _one(starter: Starter, *, counts: bool) -> None:
    files = _files(starter.model)
    phases: dict[str, float] = {}
    for start in starter.starts:
        for path in files if starter.cold else ():
            forget(path)
        cached = cached_share(files[0])
        try:
            phases |= start()
        except (PeerFailed, ConfigError) as error:
            starter.failure = str(error)
            return
        if counts:
            starter.cached.append(cached)
    if counts:
        starter.runs.append(phases)


def _files(model: Path) -> list[Path]:
    return [model] if model.is_file() else sorted(model.glob("*.safetensors"))


def redline_starts(model: Path, options: dict[str, Any], serve_flags: Sequence[str]) -> list[Start]:
    """Redline as a library, and as a server, each in a process of its own."""
    return [lambda: _library(model, options), lambda: _server(serve_flags)]


def peer_start(engine: Engine) -> Start:
    """An engine's worker, of which only the first text is seen."""

    def start() -> dict[str, float]:
        if engine.failure is not None:
            raise PeerFailed(engine.failure)
        options = {**engine.options, "prompt": FIRST_TOKEN_PROMPT}
        return {"total_s": first_text_s(engine.command, options, engine.variables, TIMEOUT_S)}

    return start


def _library(model: Path, options: dict[str, Any]) -> dict[str, float]:
    said = json.dumps({"model": str(model), "prompt": FIRST_TOKEN_PROMPT, "engine": options})
    start_s = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, str(WORKERS / "startup_worker.py"), said],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        at = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise PeerFailed(f"no token within {TIMEOUT_S:.0f} s") from None
    except ValueError:
        raise PeerFailed(done.stderr.strip().rpartition("\n")[2] or "said nothing") from None
    moments = [start_s, at["begun"], at["imported"], at["loaded"], at["first token"]]
    phases = [after - before for before, after in zip(moments, moments[1:], strict=False)]
    names = ("python_s", "import_s", "load_s", "first_token_s")
    return {**dict(zip(names, phases, strict=True)), "total_s": moments[-1] - start_s}


def _server(flags: Sequence[str]) -> dict[str, float]:
    start_s = time.monotonic()
    with OwnServer(flags) as server:
        ready_s = time.monotonic() - start_s
        return {"server_ready_s": ready_s, "server_first_token_s": asyncio.run(_first_token_s(server.url))}


async def _first_token_s(url: str) -> float:
    endpoint = await probe(Endpoint(base_url=url, model="", api="completions", ignore_eos=True), first=True)
    request = Request(({"role": "user", "content": FIRST_TOKEN_PROMPT},), 2)
    workload = Workload("first token", "", ((request,),))
    run = await generate_load(endpoint, workload, Closed(1), Timeouts(), asyncio.Event())
    (outcome,) = run.outcomes
    if outcome.failure is not None:
        raise PeerFailed(str(outcome.failure))
    return outcome.answer.chunk_s[0] - outcome.sent_s
