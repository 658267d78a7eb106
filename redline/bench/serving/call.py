"""call(): send one request, read its answer to the end, and say what happened."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from redline.bench.serving.answer import Answer
from redline.bench.serving.connection import Connection
from redline.bench.serving.failure import (
    CLOSED_EARLY,
    CONNECT,
    NO_ANSWER,
    STALLED,
    TOO_LONG,
    Failed,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """In seconds: to connect, without a token, and for a whole answer."""

    connect_s: float = 10.0
    stall_s: float = 120.0
    request_s: float = 600.0


@dataclass(slots=True, kw_only=True)
class Outcome:
    """One request, done or failed. Times are seconds of perf_counter; sent_s: before its first byte left."""

    place: int  # among the requests of the workload
    asked_tokens: int
    sent_s: float
    end_s: float = 0.0
    late_s: float = 0.0  # sent so much later than planned
    connect_s: float = 0.0  # 0 on a connection that was there; not part of any other time
    failure: Failed | None = None
    cut_off: bool = False  # the run was interrupted; neither done nor failed
    answer: Answer = field(default_factory=Answer)

    @property
    def done(self) -> bool:
        """It has a whole answer."""
        return self.failure is None and not self.cut_off


async def call(connection: Connection, request: bytes, outcome: Outcome, timeouts: Timeouts) -> None:
    """Fill `outcome`. What goes wrong becomes its failure; only cancellation is raised."""
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    answer = outcome.answer

    def end(failure: Failed | None) -> None:
        if not ended.done():
            outcome.failure = failure
            ended.set_result(None)

    def received(data: bytes, at_s: float, lag_s: float | None) -> None:
        outcome.end_s = at_s
        try:
            answer.feed(data, at_s, lag_s)
            if answer.http.complete:
                answer.check()
                end(None)
        except Failed as failure:
            end(failure)

    def closed(reason: str) -> None:
        outcome.end_s = time.perf_counter()
        try:
            answer.http.close()
            answer.check()
            end(None)
        except Failed as failure:
            end(Failed(failure.kind, reason or failure.detail) if failure.kind == CLOSED_EARLY else failure)

    try:
        outcome.sent_s = time.perf_counter()
        await connection.send(request)
    except OSError as error:
        outcome.end_s = time.perf_counter()
        outcome.failure = Failed(CONNECT, error.strerror or str(error))
        return
    connection.start_reading(received, closed)
    try:
        while not ended.done():
            late = _overdue(outcome, timeouts)
            if late is not None:
                outcome.end_s = time.perf_counter()
                end(late)
                break
            await asyncio.wait({ended}, timeout=_until_due_s(outcome, timeouts))
    finally:
        connection.stop_reading()


def _until_due_s(outcome: Outcome, timeouts: Timeouts) -> float:
    silent_since_s = outcome.answer.chunk_s[-1] if outcome.answer.chunk_s else outcome.sent_s
    due_s = min(silent_since_s + timeouts.stall_s, outcome.sent_s + timeouts.request_s)
    return max(0.0, due_s - time.perf_counter())


def _overdue(outcome: Outcome, timeouts: Timeouts) -> Failed | None:
    if _until_due_s(outcome, timeouts) > 0:
        return None
    number = len(outcome.answer.chunk_s)
    if time.perf_counter() >= outcome.sent_s + timeouts.request_s:
        return Failed(TOO_LONG if number else NO_ANSWER, f"{number} chunks in {timeouts.request_s:g} s")
    return Failed(STALLED if number else NO_ANSWER, f"{timeouts.stall_s:g} s without a token after {number}")
