"""KeyStore: the keys of the command line, and those of a file that may change while the server runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from redline.errors import ConfigError
from redline.server.config import ServerConfig
from redline.server.keys import ApiKey, KeyRing, digest_of
from redline.server.keys_file import read_keys

logger = logging.getLogger("redline.server")

LOOK_S = 1.0  # between two looks at the file


class KeyStore:
    """The file is looked at when a request comes, at most once a second: an idle server does nothing.

    A file that cannot be read any more, or is wrong, changes nothing: the keys that were read before stay,
    and the log says why. Raises ConfigError when it is so from the beginning.
    """

    def __init__(self, config: ServerConfig, clock: Callable[[], float] = time.monotonic) -> None:
        numbered = enumerate(config.api_keys, 1)
        self._fixed = [_fixed_key(f"api-key-{number}", key) for number, key in numbered]
        self._path = None if config.api_keys_file is None else Path(config.api_keys_file)
        self._clock = clock
        self._looked_s = clock()
        self._seen: tuple[Any, ...] = ()
        self._ring = KeyRing(self._fixed)
        if self._path is not None:
            self._read(self._path)

    @property
    def open(self) -> bool:
        """True when no keys are configured, so that everyone may come in."""
        return self._path is None and not self._fixed

    def ring(self) -> KeyRing:
        """The keys that are valid now."""
        now_s = self._clock()
        if self._path is not None and now_s - self._looked_s >= LOOK_S:
            self._looked_s = now_s
            if _state(self._path) != self._seen:
                self.reload()
        return self._ring

    def reload(self) -> None:
        """Read the file again, whether or not it has changed."""
        if self._path is None:
            return
        try:
            self._read(self._path)
        except ConfigError as error:
            logger.error("the keys stay as they were: %s", error)
        else:
            logger.info("%d keys are valid", len(self._ring))

    def _read(self, path: Path) -> None:
        self._seen = _state(path)  # before reading: what changes meanwhile is seen at the next look
        self._ring = KeyRing([*self._fixed, *read_keys(path)])


def _fixed_key(name: str, key: str) -> ApiKey:
    return ApiKey(name=name, digest=digest_of(key, name))


def _state(path: Path) -> tuple[Any, ...]:
    """What differs when a file was written or replaced."""
    try:
        status = path.stat()
    except OSError as error:
        return (error.errno,)
    return (status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev)
