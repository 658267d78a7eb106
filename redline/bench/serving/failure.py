"""What can go wrong with a request, by kind. A failed request is counted and never ends the measurement."""

from __future__ import annotations

CONNECT = "connect"  # no connection
NO_ANSWER = "no answer"  # a connection, and no token within the time
STALLED = "stalled"  # tokens, and then none for the time
TOO_LONG = "too long"  # tokens to the last, and the time for the whole answer is over
CLOSED_EARLY = "closed early"  # the stream ended without [DONE] and without a finish_reason
BAD_HTTP = "bad HTTP"
BAD_EVENT = "bad event"  # not JSON, or no chunk of an answer
ERROR_EVENT = "error event"  # the server reports an error inside the stream
NOT_STREAMED = "not streamed"  # 200, and no event stream
EMPTY = "empty"  # a whole answer without a token

LONGEST_DETAIL = 200


class Failed(Exception):
    """A request failed: `kind` is counted, `detail` says what happened to it."""

    def __init__(self, kind: str, detail: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = " ".join(detail.split())[:LONGEST_DETAIL]
        self.retry_after_s = retry_after_s


def http_kind(status: int) -> str:
    """Each status is a kind of its own: 429 and 503 mean other things than 400."""
    return f"HTTP {status}"
