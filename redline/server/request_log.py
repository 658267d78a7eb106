"""RequestLog: gives every request an id of ours, returns it, and logs how the request ended."""

from __future__ import annotations

import logging
import uuid

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from redline.server.http_metrics import HttpMetrics
from redline.server.request_record import RequestRecord, keep_record, record_of
from redline.server.tracing import NullTracing, Tracing

logger = logging.getLogger("redline.server")

MAX_CLIENT_CHARS = 128


def request_id_of(scope: Scope) -> str:
    """The id of a request: unique, and never chosen by a client."""
    return record_of(scope).id


class RequestLog:
    """The outermost layer. The answer carries `x-request-id`; a client's own id goes to the log only."""

    def __init__(
        self, app: ASGIApp, metrics: HttpMetrics | None = None, tracing: Tracing | None = None
    ) -> None:
        self._app = app
        self._metrics = HttpMetrics() if metrics is None else metrics
        self._tracing = NullTracing() if tracing is None else tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = _record(scope)
        record.trace = self._tracing.start(scope)
        keep_record(scope, record)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                headers = [*message["headers"], (b"x-request-id", record.id.encode())]
                message = {**message, "headers": headers}
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            record.duration_s = record.elapsed_s()
            self._metrics.count(scope, record)
            record.trace.end(record)
            logger.info("%s", record, extra={"request": record})


def _record(scope: Scope) -> RequestRecord:
    return RequestRecord(
        id=uuid.uuid4().hex,
        client_id=_printable(Headers(scope=scope).get("x-request-id", "-")),
        method=_printable(scope["method"]),
        path=_printable(scope["path"]),
    )


def _printable(text: str) -> str:
    """Text of a client, short and without anything that could start a new field or line of the log."""
    safe = (char if char.isprintable() and char != " " else "?" for char in text[:MAX_CLIENT_CHARS])
    return "".join(safe)
