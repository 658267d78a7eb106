"""generate_load(): run a workload against an endpoint, on one thread, and keep every time that counts."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from redline.bench.serving.arrivals import Arrivals, Closed, Open
from redline.bench.serving.call import Outcome, Timeouts, call
from redline.bench.serving.connection import Connection
from redline.bench.serving.endpoint import Endpoint
from redline.bench.serving.failure import Failed
from redline.bench.workloads import Workload

MAX_RETRY_AFTER_S = 30.0  # that a user of a closed loop waits when told to come back later
SPARE_FILES = 64  # beside the connections
OnDone = Callable[[], None]


@dataclass
class LoadRun:
    """What came of one run."""

    outcomes: list[Outcome] = field(default_factory=list)
    start_s: float = 0.0
    end_s: float = 0.0
    generator_cpu_s: float = 0.0  # processor time of the generator itself
    interrupted: bool = False

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s


async def generate_load(
    endpoint: Endpoint,
    workload: Workload,
    arrivals: Arrivals,
    timeouts: Timeouts,
    stop: asyncio.Event,
    on_done: OnDone = lambda: None,
) -> LoadRun:
    """Send all requests; every one becomes an outcome, whatever happens to it.

    `stop` ends the run early: what is under way is cut off, what was not sent is left out.
    """
    generator = _Generator(endpoint, workload, timeouts, on_done)
    run = LoadRun(outcomes=generator.outcomes, start_s=time.perf_counter())
    cpu_s = time.process_time()
    if isinstance(arrivals, Closed):
        tasks = generator.users(arrivals.concurrency)
    else:
        tasks = generator.visitors(arrivals, run.start_s)
    everyone = asyncio.gather(*tasks)
    stopping = asyncio.create_task(stop.wait())
    waiting: set[asyncio.Future[Any]] = {everyone, stopping}
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    run.interrupted = stop.is_set()
    everyone.cancel()
    stopping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await everyone
    generator.close()
    run.end_s = max((each.end_s for each in run.outcomes), default=time.perf_counter())
    run.generator_cpu_s = time.process_time() - cpu_s
    return run


class _Generator:
    def __init__(self, endpoint: Endpoint, workload: Workload, timeouts: Timeouts, on_done: OnDone) -> None:
        self.outcomes: list[Outcome] = []
        self._address, self._tls = endpoint.address, endpoint.tls
        self._timeouts = timeouts
        self._on_done = on_done
        self._idle: list[Connection] = []
        self._sessions = list(_encoded(endpoint, workload))

    def users(self, concurrency: int) -> list[asyncio.Task[None]]:
        """As many tasks as may run at once, sharing one row of sessions."""
        allow_files(min(concurrency, len(self._sessions)))
        row = iter(self._sessions)
        return [asyncio.create_task(self._user(row)) for _ in range(min(concurrency, len(self._sessions)))]

    def visitors(self, arrivals: Open, start_s: float) -> list[asyncio.Task[None]]:
        """A task for each session."""
        allow_files(len(self._sessions))
        pairs = zip(self._sessions, arrivals.times_s, strict=True)
        return [asyncio.create_task(self._visitor(session, start_s + at_s)) for session, at_s in pairs]

    def close(self) -> None:
        for connection in self._idle:
            connection.close()

    async def _user(self, row: Iterator[_Session]) -> None:
        for session in row:
            for turn in session:
                outcome = await self._turn(turn, None)
                wait_s = 0.0 if outcome.failure is None else outcome.failure.retry_after_s or 0.0
                if wait_s:
                    await asyncio.sleep(min(wait_s, MAX_RETRY_AFTER_S))
                if not outcome.done:
                    break  # the rest of a session follows from an answer that is not there

    async def _visitor(self, session: _Session, due_s: float) -> None:
        await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
        planned_s: float | None = due_s
        for turn in session:
            outcome = await self._turn(turn, planned_s)
            planned_s = None
            if not outcome.done:
                break

    async def _turn(self, turn: _Turn, due_s: float | None) -> Outcome:
        now_s = time.perf_counter()
        outcome = Outcome(place=turn.place, asked_tokens=turn.asked_tokens, sent_s=now_s, end_s=now_s)
        self.outcomes.append(outcome)
        connection = None
        try:
            connection = await self._connection(outcome)
            await call(connection, turn.content, outcome, self._timeouts)
            if due_s is not None:
                outcome.late_s = outcome.sent_s - due_s
        except Failed as failure:
            outcome.failure, outcome.end_s = failure, time.perf_counter()
        except asyncio.CancelledError:
            outcome.cut_off, outcome.end_s = True, time.perf_counter()
            raise
        finally:
            self._give_back(connection, outcome)
        self._on_done()
        return outcome

    async def _connection(self, outcome: Outcome) -> Connection:
        """One that is there, or a new one."""
        while self._idle:
            connection = self._idle.pop()
            if connection.alive:
                return connection
            connection.close()
        start_s = time.perf_counter()
        opened = await Connection.open(self._address, self._tls, self._timeouts.connect_s)
        outcome.connect_s = time.perf_counter() - start_s
        return opened

    def _give_back(self, connection: Connection | None, outcome: Outcome) -> None:
        if connection is None:
            return
        if outcome.answer.http.complete and outcome.answer.http.keep_alive:
            self._idle.append(connection)
        else:
            connection.close()


@dataclass(frozen=True, slots=True)
class _Turn:
    place: int
    asked_tokens: int
    content: bytes  # the whole request, made before the clock runs


_Session = Sequence[_Turn]


def _encoded(endpoint: Endpoint, workload: Workload) -> Iterator[_Session]:
    place = 0
    for session in workload.sessions:
        turns = []
        for request in session:
            turns.append(_Turn(place, request.output_tokens, endpoint.post(request)))
            place += 1
        yield turns


def allow_files(connections: int) -> None:
    """Raise this process's limit of open files as far as it may. Connections beyond it fail."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
