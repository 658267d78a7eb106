"""RequestLog: gives every request an id of ours, returns it, and logs how the request ended."""

from __future__ import annotations

import logging
import time
import uuid

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger("redline.server")

_KEY = "redline.request_id"
MAX_CLIENT_ID_CHARS = 128


def request_id_of(scope: Scope) -> str:
    """The id of a request: unique, and never chosen by a client."""
    request_id: str = scope[_KEY]
    return request_id


class RequestLog:
    """The outermost layer. The answer carries `x-request-id`; a client's own id goes to the log only."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = scope[_KEY] = uuid.uuid4().hex
        status = 0  # stays 0 when the client left first

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message["headers"], (b"x-request-id", request_id.encode())]
                message = {**message, "headers": headers}
            await send(message)

        start = time.perf_counter()
        try:
            await self._app(scope, receive, send_with_id)
        finally:
            duration_s = time.perf_counter() - start
            logger.info(
                "%s %s %d %.3fs id=%s client_id=%s",
                _printable(scope["method"]),
                _printable(scope["path"]),
                status,
                duration_s,
                request_id,
                _printable(Headers(scope=scope).get("x-request-id", "-")),
            )


def _printable(text: str) -> str:
    """Text of a client, short and without anything that could start a new log line."""
    return "".join(char if char.isprintable() else "?" for char in text[:MAX_CLIENT_ID_CHARS])
