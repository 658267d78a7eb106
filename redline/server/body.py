"""Reads a request's body: media type, encoding, time limit, JSON."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope

from redline.protocol.wire import parse_json
from redline.server.errors import CLOSE, HTTPError
from redline.server.running import ClientGone


async def read_json(scope: Scope, receive: Receive, timeout_s: float) -> Any:
    """The JSON value a client sent.

    Raises HTTPError (408, 413, 415), RequestError when it is not JSON, ClientGone.
    """
    return parse_json(await read_body(scope, receive, timeout_s))


async def read_body(scope: Scope, receive: Receive, timeout_s: float) -> bytes:
    """The JSON text a client sent. Raises as read_json does."""
    _check_media_type(Headers(scope=scope))
    try:
        async with asyncio.timeout(timeout_s):
            return await Request(scope, receive).body()
    except TimeoutError:
        raise HTTPError(
            408, f"the body did not arrive within {timeout_s} s", code="request_timeout", headers=CLOSE
        ) from None
    except ClientDisconnect:
        raise ClientGone from None


def _check_media_type(headers: Headers) -> None:
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise HTTPError(
            415,
            f"Content-Type is {media_type[:60]!r}; it must be application/json",
            code="unsupported_media_type",
        )
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise HTTPError(
            415,
            f"Content-Encoding is {encoding[:60]!r}; send the body uncompressed",
            code="unsupported_content_encoding",
        )
