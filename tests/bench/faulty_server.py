"""FaultyServer: answers each chat request in the way that its message asks for."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Callable
from typing import Self

from tests.bench.test_answer import DONE, END, HEAD, coded, event, token, usage

REFUSED = b"HTTP/1.1 %b\r\nretry-after: %d\r\ncontent-length: 28\r\n\r\n"
BODY = b'{"error":{"message":"full"}}'
MODELS = b'{"data": [{"id": "small"}, {"id": "large"}]}'
STALL, CLOSE = b"<stall>", b"<close>"

ANSWERS: dict[str, list[bytes]] = {
    "good": [HEAD, token(), token(), token(finish="length") + usage(5, 3) + DONE],
    "stalls": [HEAD, token(), STALL],
    "says nothing": [STALL],
    "closes at once": [CLOSE],
    "closes early": [HEAD, token(), CLOSE],
    "malformed": [HEAD, token() + coded(b"data: {{\n\n"), DONE],
    "error event": [HEAD, token() + event(error={"message": "lost"}) + DONE],
    "lies": [HEAD, token() + token() + usage(5, 1) + DONE],
    "429": [REFUSED % (b"429 Too Many Requests", 0) + BODY],
    "503": [REFUSED % (b"503 Service Unavailable", 1) + BODY],
    "empty": [HEAD + DONE],
    "not HTTP": [b"hello\r\n\r\n", CLOSE],
    "no done": [HEAD, token() + END],
}


class FaultyServer:
    """Use it in a `with` block. `asked`: every body that came; `keys`: every authorization."""

    def __init__(
        self, models: bytes | None = MODELS, key: str | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self.asked: list[dict] = []
        self.keys: list[str | None] = []
        self.on_request: Callable[[], None] = lambda: None
        self._models, self._key, self._tls = models, key, tls
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        assert not self._thread.is_alive()

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._clients: set[asyncio.Task] = set()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._stop.wait()
        server.close()
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            while await self._answer(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._clients.discard(task)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
        body = await reader.readexactly(int(fields.get("content-length", 0)))
        self.keys.append(fields.get("authorization"))
        if self._key is not None and fields.get("authorization") != f"bearer {self._key}":
            writer.write(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n")
            return True
        if head.startswith("get "):
            writer.write(self._list())
            return True
        self.asked.append(json.loads(body))
        self.on_request()
        return await self._parts(writer, ANSWERS[self.asked[-1]["messages"][-1]["content"]])

    def _list(self) -> bytes:
        if self._models is None:
            return b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
        return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(self._models), self._models)

    async def _parts(self, writer: asyncio.StreamWriter, parts: list[bytes]) -> bool:
        for part in parts:
            if part == STALL:
                await asyncio.Event().wait()
            if part == CLOSE:
                return False
            writer.write(part)
            await writer.drain()
        return True
