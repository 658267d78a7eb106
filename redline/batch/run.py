"""run(): all requests of a file through the server's own code, many at once, each result kept as it comes."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from pydantic_core import from_json, to_json
from starlette.types import ASGIApp

from redline.batch.in_process import Received, post
from redline.batch.known import KnownKeys
from redline.batch.lines import BadLine, Line, duplicate, parse_line, read_lines
from redline.batch.results import ResultFile, id_key, line_key
from redline.errors import EngineDead
from redline.protocol.batch import BatchLine, BatchResponse, BatchResult

TOO_MANY, UNAVAILABLE = 429, 503
PAUSE_S = 0.05  # before a request is asked again that found the queue full
BREATH = 256  # lines that are skipped before others get the thread


@dataclass(slots=True)
class Summary:
    """What became of the lines. `total` counts those that are not blank, `skipped` had a result before."""

    total: int = 0
    completed: int = 0
    failed: int = 0
    skipped: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    duration_s: float = 0.0
    start_s: float = field(default_factory=time.monotonic, repr=False)

    def count(self, result: BatchResult) -> None:
        """A line has got its result."""
        self.duration_s = time.monotonic() - self.start_s
        if result.failed or result.response is None:
            self.failed += 1
            return
        self.completed += 1
        usage = result.response.body.get("usage") or {}
        self.prompt_tokens += _first(usage, "prompt_tokens", "input_tokens")
        self.prompt_tokens += _first(usage, "cache_read_input_tokens")  # Anthropic counts them apart
        self.completion_tokens += _first(usage, "completion_tokens", "output_tokens")


async def run(
    app: ASGIApp,
    source: BinaryIO,
    results: ResultFile,
    *,
    max_concurrency: int,
    progress: Callable[[int], None] = lambda done: None,
) -> Summary:
    """Ask what has no result yet. `progress` hears how many lines are done.

    Raises EngineDead when nothing can be answered any more, and OSError when results cannot be written;
    what is in `results` then stays, and a later run goes on from there.
    """
    batch = _Batch(app, results, max_concurrency, progress)
    try:
        async with asyncio.TaskGroup() as group:
            await batch.start_all(group, source)
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    finally:
        batch.seen.close()
    return batch.summary


class _Batch:
    """One run over a file."""

    def __init__(
        self, app: ASGIApp, results: ResultFile, max_concurrency: int, progress: Callable[[int], None]
    ) -> None:
        self.summary = Summary()
        self.seen = KnownKeys()
        self._app = app
        self._results = results
        self._room = asyncio.Semaphore(max_concurrency)
        self._num_running = 0
        self._progress = progress

    async def start_all(self, group: asyncio.TaskGroup, source: BinaryIO) -> None:
        """Start the requests one after the other, as soon as there is room for each."""
        for line, found in self._without_results(source):
            if found is None:
                await asyncio.sleep(0)
                continue
            await self._room.acquire()
            self._num_running += 1
            group.create_task(self._finish(line, found))

    def _without_results(self, source: BinaryIO) -> Iterator[tuple[Line, BatchLine | BadLine | None]]:
        """The lines to do; None now and then while there are none."""
        for line in read_lines(source):
            self.summary.total += 1
            found = self._look_at(line)
            key = id_key(found.custom_id) if isinstance(found, BatchLine) else line_key(line.number)
            if key not in self._results.done:
                yield line, found
                continue
            self.summary.skipped += 1
            if self.summary.skipped % BREATH == 0:
                self._tell()
                yield line, None

    def _look_at(self, line: Line) -> BatchLine | BadLine:
        found = parse_line(line)
        if found.custom_id is None or self.seen.add(found.custom_id) or isinstance(found, BadLine):
            return found
        return duplicate(line, found.custom_id)

    async def _finish(self, line: Line, found: BatchLine | BadLine) -> None:
        try:
            if isinstance(found, BadLine):
                result = BatchResult(id=_new_id(), custom_id=found.custom_id, error=found.error)
            else:
                result = _result(found, await self._ask(found))
            await self._results.append(result)
            self.summary.count(result)
            self._tell()
        finally:
            self._num_running -= 1
            self._room.release()

    async def _ask(self, line: BatchLine) -> Received:
        body = to_json(line.body)
        while True:
            received = await post(self._app, line.url, body)
            if received.status == UNAVAILABLE:
                raise EngineDead(f"the engine has stopped: {received.body.decode(errors='replace')[:200]}")
            if received.status != TOO_MANY or self._num_running == 1:  # alone it will not fit later either
                return received
            await asyncio.sleep(PAUSE_S)

    def _tell(self) -> None:
        summary = self.summary
        self._progress(summary.skipped + summary.completed + summary.failed)


def _result(line: BatchLine, received: Received) -> BatchResult:
    request_id = received.headers["x-request-id"]
    response = BatchResponse(
        status_code=received.status, request_id=request_id, body=from_json(received.body)
    )
    return BatchResult(id=f"batch_req_{request_id}", custom_id=line.custom_id, response=response)


def _new_id() -> str:
    return f"batch_req_{uuid.uuid4().hex}"


def _first(usage: dict[str, Any], *names: str) -> int:
    return next((usage[name] for name in names if usage.get(name) is not None), 0)
