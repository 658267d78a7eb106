"""Authentication: nothing but /health is behind this layer without a key."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from redline.server.config import ServerConfig
from redline.server.errors import CLOSE, HTTPError
from redline.server.key_store import KeyStore
from redline.server.keys import ApiKey
from redline.server.request_record import record_of

_KEY = "redline.api_key"
ANYONE = ApiKey(name="-")  # who comes when no keys are configured
CHALLENGE = {"www-authenticate": "Bearer", **CLOSE}


def caller_of(scope: Scope) -> ApiKey:
    """Whose request it is."""
    caller: ApiKey = scope.get(_KEY, ANYONE)
    return caller


class Authentication:
    """Looks at the path that the router looks at, and at nothing that could differ from it.

    A key comes as `Authorization: Bearer KEY` or as `x-api-key: KEY`. More than one is accepted only when all
    say the same: whoever stands in front may have looked at another of them.
    """

    def __init__(self, app: ASGIApp, config: ServerConfig, keys: KeyStore) -> None:
        self._app = app
        self._keys = keys
        self._public = {"/health", "/metrics"} if config.public_metrics else {"/health"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._keys.open or scope["path"] in self._public:
            await self._app(scope, receive, send)
            return
        caller = self._caller(scope)
        if caller is None:
            await _refusal().response()(scope, receive, send)
        else:
            scope[_KEY] = caller
            record_of(scope).key = caller.name
            await self._app(scope, receive, send)

    def _caller(self, scope: Scope) -> ApiKey | None:
        presented = {key for name, value in scope["headers"] for key in _credentials(name, value)}
        return self._keys.ring().find(presented.pop()) if len(presented) == 1 else None


def _credentials(name: bytes, value: bytes) -> list[bytes]:
    """The key in a header, if this is one for keys; what is no bearer token is a key that nobody has."""
    if name == b"x-api-key":
        return [value.strip()]
    if name != b"authorization":
        return []
    scheme, _, token = value.strip().partition(b" ")
    return [token.strip() if scheme.lower() == b"bearer" else b""]


def _refusal() -> HTTPError:
    return HTTPError(
        401,
        "a valid API key is needed, as Authorization: Bearer KEY or as x-api-key: KEY",
        code="invalid_api_key",
        headers=CHALLENGE,
    )
