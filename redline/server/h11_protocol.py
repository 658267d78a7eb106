"""StrictH11Protocol: uvicorn's h11 protocol with JSON errors and a deadline for headers."""

from __future__ import annotations

import asyncio
import sys
from http import HTTPStatus

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from redline.protocol.errors import error_body


class StrictH11Protocol(H11Protocol):
    """What h11 refuses is answered with an OpenAI error object and the status h11 suggests.

    A client that has not sent complete headers `header_timeout_s` after it began is disconnected.
    """

    header_timeout_s: float = 10.0
    _header_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch_headers()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn while it handles what h11 raised."""
        error = sys.exception()
        status = error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else 400
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            for event in _error_events(HTTPStatus(status), msg):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _watch_headers(self) -> None:
        """Keep the deadline while headers are incomplete.

        It starts with the connection or with the first bytes of a later request; while a connection idles
        between requests, uvicorn's keep-alive timeout rules.
        """
        if self.conn.their_state is not h11.IDLE:
            self._stop_watching()
        elif self._header_deadline is None:
            self._header_deadline = self.loop.call_later(self.header_timeout_s, self._too_slow)

    def _stop_watching(self) -> None:
        if self._header_deadline is not None:
            self._header_deadline.cancel()
            self._header_deadline = None

    def _too_slow(self) -> None:
        self._header_deadline = None
        for event in _error_events(HTTPStatus.REQUEST_TIMEOUT, "The headers did not arrive in time."):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def _error_events(status: HTTPStatus, message: str) -> list[h11.Event]:
    code = status.phrase.lower().replace(" ", "_")
    body = error_body(message, type="invalid_request_error", code=code).to_json().encode()
    headers = [
        ("content-type", "application/json"),
        ("content-length", str(len(body))),
        ("connection", "close"),
    ]
    return [
        h11.Response(status_code=status, headers=headers, reason=status.phrase.encode()),
        h11.Data(data=body),
        h11.EndOfMessage(),
    ]
