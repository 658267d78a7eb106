"""OriginGuard: web pages cannot use a server that listens on this machine only and trusts who reaches it.

A page may rebind its own name to 127.0.0.1 (DNS rebinding); to the browser the server is then a part of the
page's own site, and no rule about foreign sites applies. But the browser says which name it believes in: in
Host always, in Origin wherever a page could change something.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from redline.server.config import ServerConfig
from redline.server.errors import HTTPError
from redline.server.hosts import canonical, host_of, is_address, is_loopback


def with_origin_guard(app: ASGIApp, config: ServerConfig) -> ASGIApp:
    """`app` behind both guards without keys on a loopback address, behind HostGuard where hosts are named."""
    trusting = not config.api_keys and config.api_keys_file is None and is_loopback(config.host)
    if trusting or config.allowed_hosts:
        app = HostGuard(app, config)
    return OriginGuard(app, config) if trusting else app


class OriginGuard:
    """Refuses an Origin with a name that the operator has not allowed; an address cannot be rebound."""

    def __init__(self, app: ASGIApp, config: ServerConfig) -> None:
        self._app = app
        self._allowed = config.cors_origins
        self._hosts = _Hosts(config)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        origin = Headers(scope=scope).get("origin") if scope["type"] == "http" else None
        if origin is None or self._may_call(origin):
            await self._app(scope, receive, send)
        else:
            await _origin_refused().response()(scope, receive, send)

    def _may_call(self, origin: str) -> bool:
        if "*" in self._allowed or origin in self._allowed:
            return True
        try:
            host = urlsplit(origin).hostname or ""
        except ValueError:
            return False
        return is_address(host) or canonical(host) in self._hosts


class HostGuard:
    """Refuses a Host that is neither this machine nor one that the operator has named.

    No browser leaves it out, so a request without one (HTTP/1.0) passes.
    """

    def __init__(self, app: ASGIApp, config: ServerConfig) -> None:
        self._app = app
        self._hosts = _Hosts(config)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = Headers(scope=scope).getlist("host") if scope["type"] == "http" else []
        wrong = next((header for header in given if host_of(header) not in self._hosts), None)
        if wrong is None:
            await self._app(scope, receive, send)
        else:
            await _host_refused(wrong).response()(scope, receive, send)


class _Hosts:
    """The hosts by which this server may be called."""

    def __init__(self, config: ServerConfig) -> None:
        self._named = {canonical(host) for host in (config.host, *config.allowed_hosts)}

    def __contains__(self, host: str | None) -> bool:
        return host is not None and (is_loopback(host) or host in self._named)


def _origin_refused() -> HTTPError:
    return HTTPError(
        403,
        "this page may not use this server; its operator can allow it with --cors-origin",
        code="origin_not_allowed",
    )


def _host_refused(header: str) -> HTTPError:
    return HTTPError(
        403,
        f"Host is {header[:100]!r}; this server answers to names of its own machine alone; its operator can "
        "allow another with --allowed-host",
        code="host_not_allowed",
    )
