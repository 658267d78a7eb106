"""Every failure becomes an OpenAI error object with the status that SDKs act on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from redline.errors import CapacityError, ContextLengthError, EngineDead, QueueFull, RequestError
from redline.protocol.errors import ErrorBody, error_body
from redline.protocol.wire import UnsupportedParameter

logger = logging.getLogger("redline.server")

RETRY_AFTER = {"retry-after": "1"}
CLOSE = {"connection": "close"}


class HTTPError(Exception):
    """An answer that is not a success: status, body, headers."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        self.body: ErrorBody = error_body(message, type=_type_of(status), param=param, code=code)

    def response(self) -> Response:
        """The whole answer."""
        return Response(self.body.to_json(), self.status, headers=self.headers, media_type="application/json")


def http_error(error: Exception) -> HTTPError:
    """How `error` is told to a client. Only wrong requests are explained in the error's own words."""
    if isinstance(error, HTTPError):
        return error
    if isinstance(error, RequestError):
        return HTTPError(400, str(error), param=error.param, code=_code_of(error))
    if isinstance(error, QueueFull):
        return HTTPError(429, str(error), code="queue_full", headers=RETRY_AFTER)
    if isinstance(error, CapacityError):
        return HTTPError(400, str(error), code="capacity_exceeded")
    if isinstance(error, EngineDead):
        return engine_dead()
    logger.error("a request failed because of a bug", exc_info=error)
    return HTTPError(500, "the server failed to answer this request", code="internal_error")


def engine_dead() -> HTTPError:
    """503: nothing can be served until someone restarts the engine."""
    return unavailable("the engine has stopped", "engine_dead")


def unavailable(reason: str, code: str, retry_s: int = 1) -> HTTPError:
    """503: not here, or not now. The connection is closed, so that the next one may lead elsewhere."""
    return HTTPError(503, reason, code=code, headers={"retry-after": str(retry_s), **CLOSE})


def too_many(reason: str, code: str, retry_s: int) -> HTTPError:
    """429: slow down."""
    headers = {"retry-after": str(retry_s)}
    return HTTPError(429, f"{reason}; try again later", code=code, headers=headers)


async def handle_error(request: Request, error: Exception) -> Response:
    """Exception handler for our own errors."""
    return http_error(error).response()


async def handle_framework_error(request: Request, error: Exception) -> Response:
    """Exception handler for what the router raises: unknown route, wrong method."""
    assert isinstance(error, HTTPException), f"{error = }"
    phrase = HTTPStatus(error.status_code).phrase
    message = f"{phrase}: this server has no such endpoint"
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        message = f"{phrase}: this endpoint accepts {(error.headers or {}).get('Allow', 'another method')}"
    code = phrase.lower().replace(" ", "_")
    return HTTPError(error.status_code, message, code=code, headers=error.headers).response()


def _code_of(error: RequestError) -> str | None:
    if isinstance(error, ContextLengthError):
        return "context_length_exceeded"
    return "unsupported_parameter" if isinstance(error, UnsupportedParameter) else None


TYPES = {
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.FORBIDDEN: "permission_error",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error",
}


def _type_of(status: int) -> str:
    if status in TYPES:
        return TYPES[HTTPStatus(status)]
    return "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
