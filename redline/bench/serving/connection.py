"""Connection: a TCP connection whose bytes come with the moment at which the kernel received them.

A program on one core that reads a thousand streams comes to each of them late: when all have something, the
last one waits for the others. Its own clock would count that wait as the server's. So each read asks the
kernel when the bytes came (SO_TIMESTAMPNS, Linux); elsewhere they count from the read. `lag_s` says how late
reads were, either way a measure of how busy the generator is.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import sys
import time
from collections.abc import Callable, Iterator
from typing import Protocol, Self

from redline.bench.serving.failure import CONNECT, Failed

SO_TIMESTAMPNS = 35  # of Linux; the socket module has no name for it
TIMESTAMP = struct.Struct("@qq")  # seconds, nanoseconds
READ_BYTES = 1 << 16
MAX_LAG_S = 60.0  # the system's clock was set, rather than a read so late

Address = tuple[str, int]
# (bytes; moment of perf_counter; how late they were read, None: the kernel did not say)
Received = Callable[[bytes, float, float | None], None]


class Wire(Protocol):
    """What lies between the bytes of HTTP and those of TCP."""

    async def open(self, sock: socket.socket) -> None: ...

    def encode(self, data: bytes) -> bytes: ...

    def decode(self, data: bytes) -> bytes: ...


class PlainWire:
    """Nothing."""

    async def open(self, sock: socket.socket) -> None:
        """There is nothing to agree on."""

    def encode(self, data: bytes) -> bytes:
        return data

    def decode(self, data: bytes) -> bytes:
        return data


class TlsWire:
    """TLS in memory, so that the socket stays ours and keeps its time stamps."""

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=host)

    async def open(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await loop.sock_sendall(sock, self._out.read())
                data = await loop.sock_recv(sock, READ_BYTES)
                if not data:
                    raise ConnectionError("the server closed in the TLS handshake") from None
                self._in.write(data)
        await loop.sock_sendall(sock, self._out.read())

    def encode(self, data: bytes) -> bytes:
        self._tls.write(data)
        return self._out.read()

    def decode(self, data: bytes) -> bytes:
        self._in.write(data)
        parts = []
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            while part := self._tls.read(READ_BYTES):
                parts.append(part)
        return b"".join(parts)


class Connection:
    """Made by `open`; carries one request after the other."""

    def __init__(self, sock: socket.socket, wire: Wire, stamped: bool) -> None:
        self._sock = sock
        self._wire = wire
        self._read = self._read_stamped if stamped else self._read_now

    @classmethod
    async def open(
        cls, address: Address, tls: ssl.SSLContext | None, timeout_s: float, stamped: bool = True
    ) -> Self:
        """Connect. `stamped`: ask the kernel when bytes came. Raises Failed(CONNECT)."""
        wire: Wire = PlainWire() if tls is None else TlsWire(tls, address[0])
        try:
            async with asyncio.timeout(timeout_s):
                sock, stamped = await _connected(address, stamped)
                try:
                    await wire.open(sock)
                except BaseException:
                    sock.close()
                    raise
        except TimeoutError:
            raise Failed(CONNECT, f"no connection within {timeout_s:g} s") from None
        except OSError as error:
            raise Failed(CONNECT, error.strerror or str(error)) from None
        return cls(sock, wire, stamped)

    @property
    def alive(self) -> bool:
        """False when the server has closed it, or said what nobody asked for."""
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    async def send(self, data: bytes) -> None:
        """Raises OSError."""
        await asyncio.get_running_loop().sock_sendall(self._sock, self._wire.encode(data))

    def start_reading(self, received: Received, closed: Callable[[str], None]) -> None:
        """`received` gets what comes; `closed` hears the end, with what the system says about it."""

        def readable() -> None:
            try:
                data, at_s, lag_s = self._read()
            except BlockingIOError:
                return
            except OSError as error:
                closed(error.strerror or str(error))
                return
            if data:
                try:
                    plain = self._wire.decode(data)
                except ssl.SSLError as error:
                    closed(str(error))
                    return
                received(plain, at_s, lag_s)
            else:
                closed("")

        asyncio.get_running_loop().add_reader(self._sock, readable)

    def stop_reading(self) -> None:
        """Until the next request."""
        asyncio.get_running_loop().remove_reader(self._sock)

    def close(self) -> None:
        """At once."""
        with contextlib.suppress(OSError, RuntimeError):
            self.stop_reading()
        self._sock.close()

    def _read_stamped(self) -> tuple[bytes, float, float | None]:
        data, notes, _, _ = self._sock.recvmsg(READ_BYTES, 64)
        at_s = time.perf_counter()
        for _, kind, value in notes:
            if kind == SO_TIMESTAMPNS and len(value) == TIMESTAMP.size:
                seconds, nanoseconds = TIMESTAMP.unpack(value)
                lag_s = (time.time_ns() - seconds * 1_000_000_000 - nanoseconds) * 1e-9
                if 0 <= lag_s < MAX_LAG_S:
                    return data, at_s - lag_s, lag_s
        return data, at_s, None

    def _read_now(self) -> tuple[bytes, float, float | None]:
        return self._sock.recv(READ_BYTES), time.perf_counter(), None


async def _connected(address: Address, stamped: bool) -> tuple[socket.socket, bool]:
    """A connected socket, and whether the kernel stamps what it receives."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(*address, type=socket.SOCK_STREAM)
    failure: OSError = OSError("the host has no address")
    for family, kind, protocol, _, where in found:
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            can = stamped and _ask_for_stamps(sock)
            await loop.sock_connect(sock, where)
            return sock, can
        except OSError as error:
            failure = error
            sock.close()
        except BaseException:
            sock.close()
            raise
    raise failure


@contextlib.contextmanager
def stamping() -> Iterator[None]:
    """Keep the kernel stamping: it begins a moment after one socket asked for it, and ends with the last."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as keeper:
        _ask_for_stamps(keeper)
        yield


def _ask_for_stamps(sock: socket.socket) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    except OSError:
        return False
    return True
