"""The built-in page at `/`: a chat, and a view of the engine at work. Its files lie in `web/`.

It asks the same server for everything, as any client does, so its files need no key and say nothing: every
server of this version has the same. What they show, the requests behind them must be allowed to see. The
browser is told to load and to run nothing else, and that no text may become HTML, whatever a model writes.
"""

from __future__ import annotations

import hashlib
from functools import cache
from http import HTTPStatus
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from redline.server.config import ServerConfig

FOLDER = Path(__file__).parent / "web"
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
SECURITY = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",  # asked for again each time, answered with 304
}


def with_page(app: ASGIApp, config: ServerConfig) -> ASGIApp:
    """`app`, and before it the page where it is wanted."""
    return Page(app) if config.page else app


class Page:
    """Answers GET and HEAD of `/` and of the page's files, also while a model loads; the rest is `app`'s."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD") or scope["path"] not in files():
            await self._app(scope, receive, send)
            return
        content, headers = files()[scope["path"]]
        if Headers(scope=scope).get("if-none-match") == headers["etag"]:
            await Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)(scope, receive, send)
        else:
            await Response(content, headers=headers)(scope, receive, send)


@cache
def files() -> dict[str, tuple[bytes, dict[str, str]]]:
    """The files by the path that they are asked for by: content and headers."""
    found = {f"/page/{path.name}": _file(path) for path in sorted(FOLDER.iterdir())}
    return {"/": found.pop("/page/index.html"), **found}


def _file(path: Path) -> tuple[bytes, dict[str, str]]:
    content = path.read_bytes()
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    return content, {"content-type": MEDIA_TYPES[path.suffix], "etag": etag, **SECURITY}
