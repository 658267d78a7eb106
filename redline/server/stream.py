"""Sends an answer as server-sent events."""

from __future__ import annotations

from http import HTTPStatus

from starlette.types import Send

from redline.protocol.sse import DONE, encode_event
from redline.protocol.wire import ResponseModel
from redline.server.direct_body import DirectBody, NoDirectBody
from redline.server.errors import HTTPError

HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class EventStream:
    """One response of events. The status is sent with the first event, so that failures before it can be
    HTTP statuses; a failure after it is an event of its own, and the stream ends without `[DONE]`."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False
        self.direct: DirectBody | NoDirectBody = NoDirectBody()

    def encode(self, chunk: ResponseModel) -> bytes:
        """One chunk as an event."""
        return encode_event(chunk.to_json())

    async def write(self, events: bytes) -> None:
        """Send encoded chunks."""
        await self._body(events)

    async def finish(self) -> None:
        """Say that nothing follows."""
        await self._body(encode_event(DONE), more=False)

    async def fail(self, error: HTTPError) -> None:
        """Say why nothing follows."""
        await self._body(encode_event(error.body.to_json()), more=False)

    async def _body(self, body: bytes, *, more: bool = True) -> None:
        if not self.started:
            self.started = True
            await self._send({"type": "http.response.start", "status": HTTPStatus.OK, "headers": HEADERS})
        await self._send({"type": "http.response.body", "body": body, "more_body": more})
