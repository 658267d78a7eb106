"""The error object of the OpenAI API."""

from __future__ import annotations

from redline.protocol.wire import ResponseModel


class ErrorObject(ResponseModel):
    """What went wrong, for people (`message`) and for programs (`type`, `param`, `code`)."""

    message: str
    type: str | None = None
    param: str | None = None
    code: str | int | None = None  # Redline sends a string or null; other servers an integer


class ErrorBody(ResponseModel):
    """The body of every answer that is not a success, and the data of an error event."""

    error: ErrorObject


def error_body(message: str, *, type: str, param: str | None = None, code: str | None = None) -> ErrorBody:
    """An error body with all four members present."""
    return ErrorBody(error=ErrorObject(message=message, type=type, param=param, code=code))
