"""RunningServer: the real server on a free port, in a thread of its own."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, Self

from redline.server.config import ServerConfig
from redline.server.serve import DrainingServer, serve_on
from tests.server.fake_engine import FakeEngine


class RunningServer:
    """Use it in a `with` block; leaving drains and joins the thread."""

    def __init__(self, engine: Any = None, **config: Any) -> None:
        self.engine: Any = engine or FakeEngine()
        self.config = ServerConfig(port=0, **config)
        self._listening = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._listening.wait(20), "the server did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.join()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.server = DrainingServer(self.engine, self.config)
        await serve_on(self.server, self.config, self._announce)

    def _announce(self, url: str) -> None:
        self.url = url
        self.port = int(url.rpartition(":")[2])
        self._listening.set()

    def stop(self) -> None:
        """What SIGTERM does."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.server.stop)

    def join(self) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive(), "the server did not stop"

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def raw(self, data: bytes) -> tuple[int, dict[str, str], bytes]:
        """Send bytes as they are; give back status, headers and body of the first answer."""
        with self.connect() as connection:
            connection.sendall(data)
            return read_response(connection)

    def post(self, path: str, body: Any, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """POST JSON, or bytes as they are."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.raw(post_bytes(path, content, **headers))

    def get(self, path: str) -> tuple[int, dict[str, str], bytes]:
        return self.raw(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())


def post_bytes(path: str, content: bytes, **headers: str) -> bytes:
    """A whole request."""
    fields = {
        "host": "localhost",
        "content-type": "application/json",
        "content-length": str(len(content)),
        "connection": "close",
    }
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + content


def read_response(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Read until the server closes; undo chunked coding."""
    received = b""
    while data := connection.recv(65536):
        received += data
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body = _dechunk(body)
    return int(first.split()[1]), headers, body


def _dechunk(body: bytes) -> bytes:
    content = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        content += body[: int(size, 16)]
        body = body[int(size, 16) + 2 :]
    return content


def eventually(condition: Callable[[], object], what: str) -> None:
    """Wait until another thread has made `condition` true."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.002)
