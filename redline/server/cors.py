"""with_cors: which web pages may call this server from a browser. By default none."""

from __future__ import annotations

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from redline.server.config import ServerConfig

METHODS = ("GET", "POST", "DELETE")
EXPOSED = ("x-request-id", "request-id", "retry-after")
MAX_AGE_S = 600  # that a browser may remember the answer to a preflight


def with_cors(app: ASGIApp, config: ServerConfig) -> ASGIApp:
    """`app` for the pages that config names.

    A preflight is answered without a key, because browsers send it without one. Cookies are never asked for:
    a page that may call must bring its key itself.
    """
    if not config.cors_origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=config.cors_origins,
        allow_methods=METHODS,
        allow_headers=["*"],
        expose_headers=EXPOSED,
        max_age=MAX_AGE_S,
    )
