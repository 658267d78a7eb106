"""RequestRecord: what the log says about one request. No prompts, no answers, no keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING

from starlette.types import Scope

if TYPE_CHECKING:
    from redline.engine.outputs import Delta, RequestMetrics
    from redline.server.job import Job

_KEY = "redline.record"
_NOT_LOGGED = {"start_s", "trace"}


class RequestTrace:
    """What tracing hears of a request; this one does nothing with it."""

    def asked(self, job: Job, *, stream: bool) -> None:
        """It is going to the engine."""

    def finished(self, reason: str) -> None:
        """One of its answers is complete."""

    def measured(self, metrics: RequestMetrics) -> None:
        """All answers to one of its prompts are."""

    def end(self, record: RequestRecord) -> None:
        """It is over."""


NO_TRACE = RequestTrace()


@dataclass(slots=True, kw_only=True)
class RequestRecord:
    """Filled in while the request is served. Times in seconds; None: it did not get so far.

    queue_s and ttft_s are those of the prompt for which they were longest.
    """

    id: str = ""  # ours
    client_id: str = "-"  # what the client calls it
    method: str = ""
    path: str = ""
    start_s: float = field(default_factory=perf_counter)
    key: str = "-"  # the name of the API key
    status: int = 0  # stays 0 when the client left first
    model: str | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    load_wait_s: float | None = None  # until its model was in memory
    queue_s: float | None = None
    ttft_s: float | None = None
    duration_s: float | None = None
    trace: RequestTrace = NO_TRACE

    def elapsed_s(self) -> float:
        """Seconds since the request came."""
        return perf_counter() - self.start_s

    def count(self, delta: Delta) -> None:
        """Something was produced for it."""
        self.output_tokens = (self.output_tokens or 0) + len(delta.token_ids)
        if delta.finish_reason is not None:
            self.trace.finished(delta.finish_reason)
        if delta.metrics is not None:
            self.trace.measured(delta.metrics)
            self.cached_tokens = (self.cached_tokens or 0) + delta.metrics.num_cached_tokens
            self.queue_s = max(self.queue_s or 0.0, delta.metrics.queue_s)
            self.ttft_s = max(self.ttft_s or 0.0, delta.metrics.ttft_s)

    def fields(self) -> dict[str, str | int | float]:
        """All that is known, by name."""
        known = {name: getattr(self, name) for name in self.__slots__ if name not in _NOT_LOGGED}
        return {
            name: round(value, 6) if isinstance(value, float) else value
            for name, value in known.items()
            if value is not None
        }

    def __str__(self) -> str:
        """The same for people, in one line."""
        fields = self.fields()
        head = [fields.pop(name) for name in ("method", "path", "status")]
        duration_s = fields.pop("duration_s", 0.0)
        told = " ".join(f"{name}={value}" for name, value in fields.items())
        return f"{' '.join(map(str, head))} {duration_s:.3f}s {told}"


def record_of(scope: Scope) -> RequestRecord:
    """The record of a request."""
    record: RequestRecord = scope[_KEY]
    return record


def keep_record(scope: Scope, record: RequestRecord) -> None:
    """Make `record` the one of the request."""
    scope[_KEY] = record
