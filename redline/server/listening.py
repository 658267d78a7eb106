"""Where the server listens: the socket, its URL, and who may reach it."""

from __future__ import annotations

import logging
import socket

from redline.errors import ConfigError
from redline.server.config import ServerConfig
from redline.server.hosts import is_loopback

logger = logging.getLogger("redline.server")

BACKLOG = 2048


def listening_socket(config: ServerConfig) -> socket.socket:
    """Listening before uvicorn starts, so that the port is known and a refusal is ours to explain.

    The protocol is named because asyncio switches Nagle's algorithm off only where it is; with it on, each
    event of a stream waits 40 ms for the acknowledgement of the one before. Raises ConfigError.
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


def url_of(listener: socket.socket, config: ServerConfig) -> str:
    """What clients connect to."""
    host, port = listener.getsockname()[:2]
    scheme = "http" if config.tls_cert is None else "https"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def warn_of_exposure(config: ServerConfig) -> None:
    """Say what others can do or read when more than this machine reaches the server."""
    if is_loopback(config.host):
        return
    if not config.api_keys and config.api_keys_file is None:
        logger.warning("everyone who reaches %s can use this server: it has no API keys", config.host)
    if config.tls_cert is None:
        logger.warning("keys, prompts and answers cross the network in the open: --tls-cert is not given")


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
