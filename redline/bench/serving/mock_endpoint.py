"""A server of known latencies, to measure the load generator itself, or to see what it makes of faults.

    python -m redline.bench.serving.mock_endpoint --ttft 0.2 --tbt 0.05 --log sent.jsonl

Answers chat completions with as many one-token chunks as are asked for: the first `--ttft` seconds after the
request, the others `--tbt` apart. `--log` gets a line for each answer with the moments, in seconds of the
system's clock, at which the request came (by the kernel's stamp) and at which each chunk was given to the
kernel: those are the known values, for a busy machine sends late. One thread, no framework, so that its own
delays stay small. It reads requests of one packet or more, and nothing but what redline bench sends.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import selectors
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from redline.bench.serving.connection import READ_BYTES, SO_TIMESTAMPNS, TIMESTAMP

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
MODELS = b'{"object":"list","data":[{"id":"mock","object":"model"}]}'
BACKLOG = 4096


def event(data: str) -> bytes:
    """One event as one chunk."""
    content = f"data: {data}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(content), content)


def chunk(**members: Any) -> str:
    """The JSON of one chunk of a chat answer."""
    return json.dumps({"id": "mock", "object": "chat.completion.chunk", "model": "mock", **members})


TOKEN = event(chunk(choices=[{"index": 0, "delta": {"content": " word"}, "finish_reason": None}]))


def last(prompt_tokens: int, completion_tokens: int) -> bytes:
    """What ends an answer."""
    finish = chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "length"}])
    usage = {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }
    return event(finish) + event(chunk(choices=[], usage=usage)) + event("[DONE]") + b"0\r\n\r\n"


@dataclass(eq=False)
class _Client:
    sock: socket.socket
    unread: bytes = b""
    came_s: float = 0.0
    tokens: int = 0
    sent_s: list[float] = field(default_factory=list)


class MockEndpoint:
    """Serves until `stop` is called, in the caller's thread. `url` is there at once."""

    def __init__(self, ttft_s: float, tbt_s: float, port: int = 0, log: IO[str] | None = None) -> None:
        self._ttft_s, self._tbt_s, self._log = ttft_s, tbt_s, log
        self._due: list[tuple[float, int, _Client]] = []  # (moment, tie breaker, whose token)
        self._ties = itertools.count()
        self._listener = socket.create_server(("127.0.0.1", port), backlog=BACKLOG)
        self._listener.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._running = True
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def stop(self) -> None:
        """After at most a tenth of a second."""
        self._running = False

    def serve(self) -> None:
        """Accept, read and send until stopped."""
        while self._running:
            wait_s = self._due[0][0] - time.time() if self._due else 0.1
            for key, _ in self._selector.select(max(0.0, min(wait_s, 0.1))):
                if key.data is None:
                    self._accept()
                else:
                    self._read(key.data)
                self._send_due()
            self._send_due()
        self._selector.close()
        self._listener.close()

    def _accept(self) -> None:
        sock, _ = self._listener.accept()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._selector.register(sock, selectors.EVENT_READ, _Client(sock))

    def _read(self, client: _Client) -> None:
        try:
            data, notes, _, _ = client.sock.recvmsg(READ_BYTES, 64)
        except OSError:
            data, notes = b"", []
        if not data:
            self._selector.unregister(client.sock)
            client.sock.close()
            client.tokens = 0
            return
        client.came_s = _stamp(notes)
        client.unread += data
        head, end, body = client.unread.partition(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")), 0
        )
        if end and len(body) >= length:
            client.unread = body[length:]
            self._answer(client, head, body[:length])

    def _answer(self, client: _Client, head: bytes, body: bytes) -> None:
        if head.startswith(b"GET "):
            client.sock.send(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
                % (len(MODELS), MODELS)
            )
            return
        client.tokens, client.sent_s = json.loads(body)["max_tokens"], []
        heapq.heappush(self._due, (client.came_s + self._ttft_s, next(self._ties), client))

    def _send_due(self) -> None:
        while self._due and self._due[0][0] <= time.time():
            _, _, client = heapq.heappop(self._due)
            if client.tokens:
                self._send(client)

    def _send(self, client: _Client) -> None:
        data = TOKEN if client.sent_s else HEAD + TOKEN
        client.sent_s.append(time.time())
        ended = len(client.sent_s) == client.tokens
        try:
            client.sock.send(data + last(1, client.tokens) if ended else data)
        except OSError:
            client.tokens = 0
            return
        if not ended:
            due_s = client.came_s + self._ttft_s + len(client.sent_s) * self._tbt_s
            heapq.heappush(self._due, (due_s, next(self._ties), client))
        elif self._log is not None:
            self._log.write(json.dumps({"came_s": client.came_s, "sent_s": client.sent_s}) + "\n")


def _stamp(notes: list[tuple[int, int, bytes]]) -> float:
    for _, kind, value in notes:
        if kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = TIMESTAMP.unpack(value)
            return float(seconds) + float(nanoseconds) * 1e-9
    return time.time()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ttft", type=float, default=0.2, help="seconds (default: 0.2)")
    parser.add_argument("--tbt", type=float, default=0.05, help="seconds (default: 0.05)")
    parser.add_argument("--log", type=Path, help="write when each chunk was sent there")
    args = parser.parse_args()
    with open(args.log or "/dev/null", "w") as log:
        mock = MockEndpoint(args.ttft, args.tbt, args.port, log)
        signal.signal(signal.SIGTERM, lambda *_: mock.stop())
        sys.stdout.write(f"{mock.url}\n")
        sys.stdout.flush()
        mock.serve()


if __name__ == "__main__":
    main()
