"""DrainingServer: the server that ends well."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Iterator, Sequence

import uvicorn
from starlette.types import ASGIApp

from redline.errors import ConfigError
from redline.server.app import api, with_guards
from redline.server.config import ServerConfig
from redline.server.connections import num_accepted_at_once, num_connections
from redline.server.engine import ServedEngine
from redline.server.h11_protocol import StrictH11Protocol
from redline.server.http_metrics import HttpMetrics
from redline.server.key_store import KeyStore
from redline.server.listening import BACKLOG
from redline.server.loading import LoadingApp
from redline.server.metrics import ServerMetrics
from redline.server.pool.app import endpoints, pool_app
from redline.server.pool.config import PoolConfig
from redline.server.pool.entry import ModelEntry
from redline.server.pool.pool import ModelPool
from redline.server.readiness import Readiness
from redline.server.running import RunningRequests
from redline.server.service import Service
from redline.server.tls import check_tls, load_chain
from redline.server.tracing import open_tracing

logger = logging.getLogger("redline.server")

GRACE_S = 5  # from ending the requests to dropping their connections


class DrainingServer(uvicorn.Server):
    """SIGTERM or SIGINT: refuse what is new, finish what runs, end it when the time is over.

    While it drains it goes on listening, so that /health can say 503 to whoever distributes requests. A
    second signal ends it at once. Unlike uvicorn's own server it returns afterwards instead of raising the
    signal again, so that the caller can close the engine. Raises ConfigError for wrong keys or certificates.
    """

    def __init__(self, engine: ServedEngine | None, config: ServerConfig) -> None:
        """Without an engine everything is 503 until `ready`."""
        if config.tls_cert is not None:
            check_tls(config.tls_cert, config.tls_key)
        self.stopped_by: signal.Signals | None = None  # the first signal
        self.killed_by: signal.Signals | None = None  # the second
        self._settings = config
        self._running = RunningRequests()
        self._readiness = Readiness(config.step_timeout_s)
        self._http = HttpMetrics()
        self._metrics = ServerMetrics(self._readiness, self._http)
        self._keys = KeyStore(config)
        self._loading = LoadingApp(self._readiness)
        self._out_of_time = asyncio.Event()
        if engine is not None:
            self.ready(engine)
        self._tracing = open_tracing(config.otlp_traces_endpoint)
        app = with_guards(self._loading, config, self._keys, self._http, self._tracing)
        super().__init__(_uvicorn_config(app, config))

    def ready(self, engine: ServedEngine) -> None:
        """Serve `engine` from now on."""
        metrics = self._metrics.of(engine)
        service = Service(engine, self._settings, self._running, self._readiness, metrics)
        self._loading.ready(api(service, self._http))

    def pool(self, entries: Sequence[ModelEntry], config: PoolConfig) -> ModelPool:
        """Several models that share what this server has. Nothing is loaded. Raises ConfigError."""
        return ModelPool(
            entries, config, self._settings, endpoints, self._running, self._readiness, self._metrics
        )

    def ready_with(self, pool: ModelPool) -> None:
        """Serve the models of `pool` from now on."""
        self._readiness.loaded(pool)
        self._loading.ready(pool_app(pool, self._http))

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """What a signal does; call it on the server's own event loop."""
        if self.should_exit:
            self.killed_by = number
            self.force_exit = True
            self._end_all(within_s=0.1)
        else:
            self.stopped_by = number
        self._readiness.draining = True
        self.should_exit = True

    def reload(self) -> None:
        """What SIGHUP does: read keys and certificate again. What is wrong changes nothing."""
        self._keys.reload()
        context, cert = getattr(self.config, "ssl", None), self._settings.tls_cert
        if context is not None and cert is not None:
            try:
                load_chain(context, cert, self._settings.tls_key)
            except ConfigError as error:
                logger.error("the certificate stays as it was: %s", error)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen. What asyncio takes in one turn is little; what the system keeps for it need not be."""
        await super().startup(sockets)
        for listener in sockets or []:
            listener.listen(BACKLOG)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, then stop listening. Connections outlive their requests by GRACE_S at most."""
        if len(self._running):
            logger.info("finishing %d requests", len(self._running))
        loop = asyncio.get_running_loop()
        deadline = loop.call_later(self._settings.drain_timeout_s, self._end_all)
        try:
            await self._all_done()
            await super().shutdown(sockets)
            await asyncio.to_thread(self._tracing.close)
        finally:
            deadline.cancel()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are handled by serve."""
        yield

    def _end_all(self, within_s: float = GRACE_S) -> None:
        if len(self._running):
            logger.warning("ending %d requests that still run", len(self._running))
        self._running.stop_all()
        asyncio.get_running_loop().call_later(within_s, self._out_of_time.set)

    async def _all_done(self) -> None:
        """Wait until no request runs, or those that cannot be ended have had their time."""
        waiting = [
            asyncio.create_task(self._running.all_done()),
            asyncio.create_task(self._out_of_time.wait()),
        ]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()


def _uvicorn_config(app: ASGIApp, config: ServerConfig) -> uvicorn.Config:
    limits = {
        "header_timeout_s": config.header_timeout_s,
        "send_timeout_s": config.send_timeout_s,
        "max_connections": num_connections(config.max_connections),
    }
    protocol = type("Protocol", (StrictH11Protocol,), limits)
    return uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=num_accepted_at_once(),
        h11_max_incomplete_event_size=config.max_header_bytes,
        timeout_keep_alive=round(config.keep_alive_s),
        timeout_graceful_shutdown=GRACE_S,
        ssl_certfile=config.tls_cert,
        ssl_keyfile=config.tls_key,
    )
