"""LimitGuard: the first layer. Nothing behind it sees an ambiguous or oversized request."""

from __future__ import annotations

from collections import Counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from redline.server.config import ServerConfig
from redline.server.errors import CLOSE, HTTPError

Headers = list[tuple[bytes, bytes]]


class LimitGuard:
    """Refuses request smuggling and oversized headers or bodies, whichever HTTP parser runs underneath.

    A body is counted while it is read, so a wrong or absent Content-Length does not help.
    """

    def __init__(self, app: ASGIApp, config: ServerConfig) -> None:
        self._app = app
        self._config = config

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        problem = self._problem(scope["headers"])
        if problem is not None:
            await problem.response()(scope, receive, send)
        else:
            await self._app(scope, self._counted(receive), send)

    def _problem(self, headers: Headers) -> HTTPError | None:
        config = self._config
        size = sum(len(name) + len(value) + 4 for name, value in headers)
        if len(headers) > config.max_headers or size > config.max_header_bytes:
            return HTTPError(
                431,
                f"the request has {len(headers)} headers of {size} bytes; at most {config.max_headers} "
                f"headers of {config.max_header_bytes} bytes are accepted",
                code="headers_too_large",
                headers=CLOSE,
            )
        return _framing_problem(headers) or self._length_problem(headers)

    def _length_problem(self, headers: Headers) -> HTTPError | None:
        length = dict(headers).get(b"content-length", b"0")
        if not length.isdigit() or len(length) > 20:
            return HTTPError(400, "Content-Length is not a number", code="bad_framing", headers=CLOSE)
        return self._too_large() if int(length) > self._config.max_body_bytes else None

    def _too_large(self) -> HTTPError:
        limit = self._config.max_body_bytes
        return HTTPError(
            413,
            f"the body is too large; at most {limit} bytes are accepted",
            code="body_too_large",
            headers=CLOSE,
        )

    def _counted(self, receive: Receive) -> Receive:
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._config.max_body_bytes:
                raise self._too_large()
            return message

        return counted


def _framing_problem(headers: Headers) -> HTTPError | None:
    """Two statements about where the body ends let a proxy and this server disagree about it."""
    count = Counter(name.lower() for name, _ in headers)
    lengths, codings = count[b"content-length"], count[b"transfer-encoding"]
    if lengths + codings <= 1:
        return None
    return HTTPError(
        400,
        f"the request has {lengths} Content-Length and {codings} Transfer-Encoding headers; "
        "send exactly one of them",
        code="bad_framing",
        headers=CLOSE,
    )
