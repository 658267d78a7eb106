"""Server-sent events as OpenAI's API uses them: one `data:` line per event, `[DONE]` at the end."""

from __future__ import annotations

DONE = "[DONE]"
MAX_EVENT_BYTES = 16 * 2**20

# Legal inside JSON strings, yet many clients take them for the end of a line.
LINE_BREAKS = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}


def encode_event(data: str, name: str | None = None) -> bytes:
    """The bytes of one event. `data` is JSON (or DONE) and holds no CR or LF."""
    if not data.isascii():
        data = data.translate(LINE_BREAKS)
    head = "" if name is None else f"event: {name}\n"
    return f"{head}data: {data}\n\n".encode()


class SSEDecoder:
    """Collects bytes as they arrive and gives back the data of each complete event.

    Comments, field names other than `data`, and both line endings are understood.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[str] = []

    def feed(self, received: bytes) -> list[str]:
        """Data of the events that `received` completes. Raises ValueError when an event has no end."""
        lines = (self._rest + received).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > MAX_EVENT_BYTES:
            raise ValueError(f"an event is longer than {MAX_EVENT_BYTES} bytes")
        return [event for line in lines if (event := self._line(line.removesuffix(b"\r"))) is not None]

    def _line(self, line: bytes) -> str | None:
        if not line:
            event = "\n".join(self._data) if self._data else None
            self._data = []
            return event
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" ").decode("utf-8"))
        return None
