"""What can go wrong between a client and a server."""

from __future__ import annotations

from redline.protocol.errors import ErrorObject


class ClientError(Exception):
    """Base of what the clients raise."""


class ConnectionFailed(ClientError):
    """No server was reached, or the connection broke before the answer was complete."""


class BadAnswer(ClientError):
    """The server sent something that is not what this API promises."""


class APIError(ClientError):
    """The server refused or failed. `status` is None when it said so inside a stream."""

    def __init__(
        self,
        error: ErrorObject,
        *,
        status: int | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{status or 'stream'}: {error.message}")
        self.error = error
        self.status = status
        self.request_id = request_id
        self.retry_after_s = retry_after_s
