"""Requests over raw connections, as many at once as one likes: what overload, disconnects and soak send."""

from __future__ import annotations

import asyncio
import json
import math
import socket
import struct
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from served import MODEL

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Outcome:
    """What became of a request. Status 0: it left first, or the connection broke."""

    status: int
    first_s: float = 0.0  # to the first byte after the head of the answer
    total_s: float = 0.0
    body: bytes = b""


def request_bytes(path: str, body: dict[str, Any]) -> bytes:
    """A whole request that wants the connection closed behind its answer."""
    content = json.dumps({"model": MODEL, **body}).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + content


async def exchange(port: int, path: str, body: dict[str, Any]) -> Outcome:
    """Send a request and read its whole answer."""
    start_s = time.perf_counter()
    try:
        reader, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return Outcome(0, total_s=time.perf_counter() - start_s)
    try:
        writer.write(request_bytes(path, body))
        head = await reader.readuntil(b"\r\n\r\n")
        first = await reader.read(1)
        first_s = time.perf_counter() - start_s
        rest = await reader.read()
        return Outcome(int(head.split()[1]), first_s, time.perf_counter() - start_s, first + rest)
    except (OSError, asyncio.IncompleteReadError):
        return Outcome(0, total_s=time.perf_counter() - start_s)
    finally:
        writer.close()


async def leave(port: int, data: bytes, after_bytes: int, within_s: float, *, rudely: bool) -> None:
    """Send `data`, wait for so much of an answer or so long, and hang up; rudely: with a reset."""
    reader, writer = await asyncio.open_connection(HOST, port)
    connection = writer.get_extra_info("socket")
    if rudely:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with suppress(TimeoutError, OSError):
        writer.write(data)
        async with asyncio.timeout(within_s):
            if after_bytes:
                await reader.read(after_bytes)
            else:
                await asyncio.sleep(within_s)
    writer.transport.abort()


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of them do not exceed; NaN of none."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
