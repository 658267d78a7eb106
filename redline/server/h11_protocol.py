"""StrictH11Protocol: uvicorn's h11 protocol with JSON errors and deadlines for slow clients."""

from __future__ import annotations

import asyncio
import sys
from http import HTTPStatus

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from redline.protocol.errors import error_body
from redline.server.direct_body import BODY, EXTENSION, DirectBody


class StrictH11Protocol(H11Protocol):
    """What h11 refuses is answered with an OpenAI error object and the status h11 suggests.

    A client is disconnected when it has not sent complete headers `header_timeout_s` after it began, or the
    rest of a body that was answered before its end; and when its answer piles up here for
    `send_timeout_s`. Beyond `max_connections` a client is told so at once.
    """

    header_timeout_s: float = 10.0
    send_timeout_s: float = 60.0
    max_connections: int = 16_384
    _header_deadline: asyncio.TimerHandle | None = None
    _send_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.access_log = False  # it has query strings, where clients put keys; RequestLog has the rest
        if len(self.connections) > self.max_connections:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, "This server has too many connections.")
        else:
            self._watch_headers()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return  # it was refused
        super().data_received(data)
        self._watch_headers()

    def handle_events(self) -> None:
        super().handle_events()
        if self.cycle is not None and "extensions" not in self.cycle.scope:  # its task has yet to begin
            self.cycle.scope["extensions"] = {EXTENSION: {BODY: DirectBody(self.cycle)}}

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching()
        self._stop_watching_sends()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stop_watching_sends()
        self._send_deadline = self.loop.call_later(self.send_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        self._stop_watching_sends()
        super().resume_writing()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._body_is_unwanted:
            self._watch_headers()

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn while it handles what h11 raised."""
        error = sys.exception()
        status = error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else 400
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            self._answer(HTTPStatus(status), msg)
        self.transport.close()

    def _watch_headers(self) -> None:
        """Keep the deadline while headers are incomplete, or a body goes on that nobody wants any more.

        It starts with the connection or with the first bytes of a later request; while a connection idles
        between requests, uvicorn's keep-alive timeout rules.
        """
        if self.conn.their_state is not h11.IDLE and not self._body_is_unwanted:
            self._stop_watching()
        elif self._header_deadline is None:
            self._header_deadline = self.loop.call_later(self.header_timeout_s, self._too_slow)

    @property
    def _body_is_unwanted(self) -> bool:
        return self.conn.their_state is h11.SEND_BODY and self.conn.our_state is h11.DONE

    def _stop_watching(self) -> None:
        if self._header_deadline is not None:
            self._header_deadline.cancel()
            self._header_deadline = None

    def _stop_watching_sends(self) -> None:
        if self._send_deadline is not None:
            self._send_deadline.cancel()
            self._send_deadline = None

    def _too_slow(self) -> None:
        self._header_deadline = None
        if self.conn.our_state is not h11.IDLE:
            self.transport.close()
            return
        self._answer(HTTPStatus.REQUEST_TIMEOUT, "The headers did not arrive in time.")

    def _answer(self, status: HTTPStatus, message: str) -> None:
        for event in _error_events(status, message):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def _error_events(status: HTTPStatus, message: str) -> list[h11.Event]:
    code = status.phrase.lower().replace(" ", "_")
    kind = "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
    body = error_body(message, type=kind, code=code).to_json().encode()
    headers = [
        ("content-type", "application/json"),
        ("content-length", str(len(body))),
        ("connection", "close"),
    ]
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers.append(("retry-after", "1"))
    return [
        h11.Response(status_code=status, headers=headers, reason=status.phrase.encode()),
        h11.Data(data=body),
        h11.EndOfMessage(),
    ]
