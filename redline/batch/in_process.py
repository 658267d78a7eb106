"""post(): a request to an ASGI app in this process, without a socket."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Scope

HOST = b"127.0.0.1"


@dataclass(slots=True)
class Received:
    """What the app has sent."""

    status: int = 0
    headers: Headers = field(default_factory=Headers)
    parts: list[bytes] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        """All of it."""
        return b"".join(self.parts)


async def post(app: ASGIApp, path: str, body: bytes) -> Received:
    """The whole answer to JSON. Cancelling it ends the request."""
    unread = [body]
    received = Received()

    async def receive() -> Message:
        if unread:
            return {"type": "http.request", "body": unread.pop(), "more_body": False}
        await asyncio.get_running_loop().create_future()  # this client does not leave
        raise AssertionError("the future has no result")

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            received.status = message["status"]
            received.headers = Headers(raw=message["headers"])
        else:
            received.parts.append(message.get("body", b""))

    await app(_scope(path, body), receive, send)
    return received


def _scope(path: str, body: bytes) -> Scope:
    headers = [
        (b"host", HOST),
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
    ]
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": (HOST.decode(), 0),
        "server": (HOST.decode(), 80),
    }
