"""MessagesErrors: under /v1/messages every failure has the shape that Anthropic's clients read.

Errors come from many places (limits, keys, routing, the endpoint), so they are translated on their way out.
"""

from __future__ import annotations

from http import HTTPStatus

from pydantic import ValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from redline.errors import ContextLengthError
from redline.protocol.anthropic_answers import MessagesError, MessagesErrorBody, error_type
from redline.protocol.errors import ErrorBody
from redline.server.request_log import request_id_of

_REPLACED = {b"content-length", b"content-type"}


class MessagesErrors:
    """A layer around all that can fail; answers also carry `request-id`, where those clients look for it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _is_ours(scope["path"]):
            send = _Translation(send, request_id_of(scope))
        await self._app(scope, receive, send)


def _is_ours(path: str) -> bool:
    return path == "/v1/messages" or path.startswith("/v1/messages/")


class _Translation:
    """The `send` of one answer; a failure is held back until all of its body is here."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self._failure: Message | None = None
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            header = (b"request-id", self._request_id.encode())
            message = {**message, "headers": [*message["headers"], header]}
            if message["status"] >= HTTPStatus.BAD_REQUEST:
                self._failure = message
                return
        if self._failure is None:
            await self._send(message)
            return
        self._body += message.get("body", b"")
        if not message.get("more_body", False):
            await self._tell(self._failure)

    async def _tell(self, failure: Message) -> None:
        body = _translated(self._body, failure["status"], self._request_id)
        headers = [header for header in failure["headers"] if header[0].lower() not in _REPLACED]
        headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await self._send({**failure, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


def _translated(body: bytes, status: int, request_id: str) -> bytes:
    try:
        message = ErrorBody.from_json(body).error.message
    except ValidationError:  # not one of ours
        message = HTTPStatus(status).phrase
    error = MessagesError(type=error_type(status), message=message)
    return MessagesErrorBody(error=error, request_id=request_id).to_json().encode()


def say_what_does_not_fit(error: ContextLengthError) -> None:
    """In the words of Anthropic's server: Claude Code reads the numbers, and asks again for what fits."""
    prompt, limit = error.num_prompt_tokens, error.max_context
    if prompt is None:
        return
    told = f"prompt is too long: {prompt} tokens > {limit} maximum"
    if error.max_tokens is not None:
        told = f"input length and `max_tokens` exceed context limit: {prompt} + {error.max_tokens} > {limit}"
        told += ", decrease input length or `max_tokens` and try again"
    error.args = (told,)
