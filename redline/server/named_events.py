"""NamedEvents: server-sent events with a name, as the Messages and the Responses API send them."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import Send

from redline.protocol.sse import encode_event
from redline.protocol.wire import ResponseModel
from redline.server.errors import HTTPError
from redline.server.stream import EventStream


class NamedEvents(EventStream):
    """The `type` of a chunk names its event. The last one says so by its type: no `[DONE]` follows."""

    def __init__(self, send: Send, error_event: Callable[[HTTPError], ResponseModel]) -> None:
        super().__init__(send)
        self._error_event = error_event

    def encode(self, chunk: ResponseModel) -> bytes:
        return encode_event(chunk.to_json(), name=chunk.type)  # type: ignore[attr-defined]

    async def finish(self) -> None:
        await self._body(b"", more=False)

    async def fail(self, error: HTTPError) -> None:
        await self._body(self.encode(self._error_event(error)), more=False)
