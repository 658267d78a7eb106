"""DirectBody: pieces of a streamed body, straight to the connection."""

from __future__ import annotations

from starlette.types import Scope
from uvicorn.protocols.http.h11_impl import RequestResponseCycle

EXTENSION, BODY = "redline.direct_body", "body"  # where it is in the scope of a request


class DirectBody:
    """Frames what the layers of the app and h11 would hand on unchanged: chunks of a response that has begun.

    The beginning and the end of a response go their normal way.
    """

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._chunked = cycle.scope["http_version"] == "1.1"  # of a response without a length

    @property
    def ready(self) -> bool:
        """Whether a piece can be written now."""
        cycle = self._cycle
        begun = cycle.response_started and not cycle.response_complete
        return begun and self._chunked and not cycle.disconnected and not cycle.flow.write_paused

    def write(self, data: bytes) -> None:
        """One piece, which is not empty: that would be the end."""
        self._cycle.transport.write(b"%x\r\n%b\r\n" % (len(data), data))


class NoDirectBody:
    """For connections of others: tests, batch files."""

    ready = False

    def write(self, data: bytes) -> None:
        """Never called, because it is never ready."""
        raise AssertionError(f"{len(data) = }")


def direct_body_of(scope: Scope) -> DirectBody | NoDirectBody:
    """That of a request."""
    extensions: dict[str, dict[str, DirectBody]] = scope.get("extensions") or {}
    found = extensions.get(EXTENSION)
    return NoDirectBody() if found is None else found[BODY]
