"""serve: runs the HTTP server until it is told to stop, then drains."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

from redline.server.config import ServerConfig
from redline.server.connections import raise_file_limit
from redline.server.draining import DrainingServer
from redline.server.engine import ServedEngine
from redline.server.listening import listening_socket, url_of, warn_of_exposure

STOP = (signal.SIGTERM, signal.SIGINT)


async def serve(
    engine: ServedEngine | Callable[[], Awaitable[ServedEngine]],
    config: ServerConfig,
    *,
    on_listening: Callable[[str], None] | None = None,
) -> signal.Signals | None:
    """Serve until SIGTERM or SIGINT, then drain and return. The engine stays open.

    A function may load the engine instead: it is called once the server listens, and every answer is 503
    until it is done. on_listening gets the URL once
    requests are served; by default it is printed. SIGHUP reads keys and certificate again. Call it in the
    main thread.

    Returns the signal that ended it before it was done: the second one, or one that came before the engine;
    the process should end by it. None after a drain. Raises ConfigError when a key, a certificate or the
    address cannot be used, and what the engine raises that does not come.
    """

    async def get_ready(server: DrainingServer) -> None:
        server.ready(await engine() if callable(engine) else engine)

    return await serve_when_ready(get_ready, config, on_listening=on_listening)


async def serve_when_ready(
    get_ready: Callable[[DrainingServer], Coroutine[Any, Any, None]],
    config: ServerConfig,
    *,
    on_listening: Callable[[str], None] | None = None,
) -> signal.Signals | None:
    """The same for whatever `get_ready` makes the server ready with."""
    raise_file_limit()
    server = DrainingServer(None, config)
    warn_of_exposure(config)
    with listening_socket(config) as listener, _signals(server, config):
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await _first(serving, get_ready(server))
        except _Stopped:
            return server.stopped_by
        except BaseException:
            server.stop()
            await serving
            raise
        (on_listening or _print_url)(url_of(listener, config))
        await serving
    return server.killed_by


async def serve_on(server: DrainingServer, config: ServerConfig, on_listening: Callable[[str], None]) -> None:
    """serve without signals: the caller stops the server by `stop`."""
    with listening_socket(config) as listener:
        on_listening(url_of(listener, config))
        await server.serve(sockets=[listener])


class _Stopped(Exception):
    """The server was stopped before it had an engine."""


async def _first(serving: asyncio.Task[None], getting_ready: Coroutine[Any, Any, None]) -> None:
    """Wait until the server is ready. Raises _Stopped when serving ends before that."""
    loading = asyncio.create_task(getting_ready)
    await asyncio.wait({serving, loading}, return_when=asyncio.FIRST_COMPLETED)
    if not loading.done():
        await serving
        raise _Stopped
    loading.result()


@contextlib.contextmanager
def _signals(server: DrainingServer, config: ServerConfig) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    handled = [*STOP]
    for number in STOP:
        loop.add_signal_handler(number, server.stop, number)
    if config.api_keys_file is not None or config.tls_cert is not None:  # else it ends the process, as always
        handled.append(signal.SIGHUP)
        loop.add_signal_handler(signal.SIGHUP, server.reload)
    try:
        yield
    finally:
        for number in handled:
            loop.remove_signal_handler(number)


def _print_url(url: str) -> None:
    sys.stdout.write(f"Redline listens on {url} (stop: Ctrl-C)\n")
    sys.stdout.flush()
