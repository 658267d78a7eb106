"""HttpReader: the answer's half of HTTP/1.1, bytes in, bytes of the body out. No more than streams need."""

from __future__ import annotations

from redline.bench.serving.failure import BAD_HTTP, CLOSED_EARLY, Failed

MAX_HEAD = 64 * 1024
MAX_SIZE_LINE = 1024
HEX = b"0123456789abcdefABCDEF"


class HttpReader:
    """Reads one answer. `status` and `headers` (names in lower case) are there once `headed` is true.

    Raises Failed(BAD_HTTP) for what is no answer, and Failed(CLOSED_EARLY) when it ends too soon.
    """

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.headed = False
        self.complete = False
        self.keep_alive = False
        self._rest = b""
        self._chunked = False
        self._left: int | None = None  # bytes of the body, or of the chunk, to come; None: until it closes
        self._trailers = False

    def feed(self, received: bytes) -> bytes:
        """What `received` adds to the body."""
        if not self.headed:
            received = self._head(received)
            if not self.headed:
                return b""
        if self._chunked:
            return self._chunks(received)
        if self._left is None:
            return received
        body = received[: self._left]
        self._left -= len(body)
        self.complete = self._left == 0
        return body

    def close(self) -> None:
        """The server closed the connection."""
        self.keep_alive = False
        if self.headed and not self._chunked and self._left is None:
            self.complete = True
        elif not self.complete:
            raise Failed(CLOSED_EARLY, "in the body" if self.headed else "before an answer")

    def _head(self, received: bytes) -> bytes:
        """Reads the status line and headers; returns what follows them."""
        while True:
            self._rest += received
            received = b""
            head, end, rest = self._rest.partition(b"\r\n\r\n")
            if not end:
                if len(self._rest) > MAX_HEAD or not self._rest.startswith(b"HTTP/1."[: len(self._rest)]):
                    raise Failed(BAD_HTTP, f"the answer begins with {self._rest[:40]!r}")
                return b""
            self._rest = rest
            lines = head.decode("latin-1").split("\r\n")
            self.status = _status(lines[0])
            if self.status >= 200:  # what comes before is a notice such as 100 Continue
                break
        pairs = (line.partition(":") for line in lines[1:])
        self.headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        self._frame(lines[0])
        self.headed, rest, self._rest = True, self._rest, b""
        return rest

    def _frame(self, status_line: str) -> None:
        """How the body is delimited."""
        said = self.headers.get("connection", "").lower()
        self._chunked = "chunked" in self.headers.get("transfer-encoding", "").lower()
        length = self.headers.get("content-length")
        if self._chunked:
            self._left = 0
        elif length is not None:
            if not length.isdecimal() or len(length) > 15:
                raise Failed(BAD_HTTP, f"content-length is {length!r}")
            self._left = int(length)
            self.complete = self._left == 0
        elif self.status in (204, 304):
            self._left, self.complete = 0, True
        framed = self._chunked or self._left is not None
        self.keep_alive = framed and status_line.startswith("HTTP/1.1") and "close" not in said

    def _chunks(self, received: bytes) -> bytes:
        """Takes the chunked coding away."""
        data, body = self._rest + received, []
        self._rest = b""
        assert self._left is not None
        while data and not self.complete:
            if self._left:
                body.append(data[: self._left])
                taken = len(body[-1])
                data, self._left = data[taken:], self._left - taken
                continue
            line, end, after = data.partition(b"\r\n")
            if not end:
                if len(data) > MAX_SIZE_LINE:
                    raise Failed(BAD_HTTP, f"a chunk begins with {data[:40]!r}")
                self._rest = data
                break
            data = after
            self._line(line)
        return b"".join(body)

    def _line(self, line: bytes) -> None:
        """A size, the empty line behind a chunk, or a trailer."""
        if self._trailers:
            self.complete = not line
        elif line:
            size = line.partition(b";")[0].strip()
            if not size or len(size) > 8 or size.strip(HEX):
                raise Failed(BAD_HTTP, f"the size of a chunk is {line[:40]!r}")
            self._left = int(size, 16)
            self._trailers = self._left == 0


def _status(line: str) -> int:
    parts = line.split(" ", 2)
    if len(parts) < 2 or not parts[0].startswith("HTTP/1.") or not parts[1].isdecimal():
        raise Failed(BAD_HTTP, f"the status line is {line[:80]!r}")
    return int(parts[1])
