"""serve: runs the HTTP server until it is told to stop, then drains."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator

import uvicorn

from redline.errors import ConfigError
from redline.server.app import build_app
from redline.server.config import ServerConfig
from redline.server.engine import ServedEngine
from redline.server.h11_protocol import StrictH11Protocol
from redline.server.running import RunningRequests

logger = logging.getLogger("redline.server")

SIGNALS = (signal.SIGTERM, signal.SIGINT)
BACKLOG = 2048
GRACE_S = 5  # from ending the requests to dropping their connections


class DrainingServer(uvicorn.Server):
    """SIGTERM or SIGINT: accept nothing new, finish what runs, end it when the time is over.

    A second signal ends it at once. Unlike uvicorn's own server it returns afterwards instead of raising
    the signal again, so that the caller can close the engine.
    """

    def __init__(self, engine: ServedEngine, config: ServerConfig) -> None:
        self._running = RunningRequests()
        self._drain_timeout_s = config.drain_timeout_s
        app = build_app(engine, config, running=self._running)
        super().__init__(_uvicorn_config(app, config))

    def stop(self) -> None:
        """What a signal does; call it on the server's own event loop."""
        if self.should_exit:
            self._running.stop_all()
            self.force_exit = True
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain. Connections outlive their requests by GRACE_S at most."""
        loop = asyncio.get_running_loop()
        deadline = loop.call_later(self._drain_timeout_s, self._running.stop_all)
        try:
            await super().shutdown(sockets)
        finally:
            deadline.cancel()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are handled by serve."""
        yield


async def serve(
    engine: ServedEngine, config: ServerConfig, *, on_listening: Callable[[str], None] | None = None
) -> None:
    """Serve until SIGTERM or SIGINT, then drain and return. The engine stays open.

    on_listening gets the URL once connections are accepted; by default it is printed. Call it in the main
    thread.

    Raises ConfigError when the address cannot be listened on.
    """
    server = DrainingServer(engine, config)
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, server.stop)
    try:
        await serve_on(server, config, on_listening or _print_url)
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)


async def serve_on(server: DrainingServer, config: ServerConfig, on_listening: Callable[[str], None]) -> None:
    """serve without signals: the caller stops the server by `stop`."""
    with _listening_socket(config) as listener:
        on_listening(_url(listener))
        await server.serve(sockets=[listener])


def _uvicorn_config(app: object, config: ServerConfig) -> uvicorn.Config:
    protocol = type("Protocol", (StrictH11Protocol,), {"header_timeout_s": config.header_timeout_s})
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        http=protocol,
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        h11_max_incomplete_event_size=config.max_header_bytes,
        timeout_keep_alive=round(config.keep_alive_s),
        timeout_graceful_shutdown=round(config.drain_timeout_s) + GRACE_S,
    )


def _listening_socket(config: ServerConfig) -> socket.socket:
    """Listening before uvicorn starts, so that the port is known and a refusal is ours to explain.

    The protocol is named because asyncio switches Nagle's algorithm off only where it is; with it on, each
    event of a stream waits 40 ms for the acknowledgement of the one before.
    """
    listener = socket.socket(_family(config.host), socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((config.host, config.port))
        listener.listen(BACKLOG)
    except (OSError, UnicodeError, TypeError) as error:  # the last two: no host can have such a name
        listener.close()
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ConfigError(
            f"cannot listen on {config.host} port {config.port}: {reason}; choose another host or port"
        ) from None
    return listener


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _print_url(url: str) -> None:
    sys.stdout.write(f"Redline listens on {url} (stop: Ctrl-C)\n")
    sys.stdout.flush()
