"""ApiKey and KeyRing: who may come in. Keys are kept and compared as digests only."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from redline.errors import ConfigError

MAX_PRIORITY = 10**6
MIN_KEY_CHARS, MAX_KEY_CHARS = 8, 512

# What fits into a header as it is, and a name that can start no new line of a log.
_KEY = re.compile(rf"[!-~]{{{MIN_KEY_CHARS},{MAX_KEY_CHARS}}}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9._@:-]{1,64}", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKey:
    """One key and what its holder may do. Keys of one name are one holder: to renew a key, add it first.

    The lower `priority` goes first. None: no limit. Raises ConfigError, which never shows the key.
    """

    name: str
    digest: bytes = field(default=b"", repr=False)  # SHA-256 of the key
    max_requests: int | None = None  # at the same time
    max_queued_tokens: int | None = None  # of prompts without a first token
    priority: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ConfigError(
                f"the name of a key is {self.name!r:.80}; it must be 1 to 64 letters, digits or ._@:-"
            )
        for name in ("max_requests", "max_queued_tokens"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise ConfigError(
                    f"{name} of key {self.name} is {value!r:.80}; it must be an integer from 1 up"
                )
        if type(self.priority) is not int or abs(self.priority) > MAX_PRIORITY:
            raise ConfigError(
                f"priority of key {self.name} is {self.priority!r:.80}; it must be an integer between "
                f"{-MAX_PRIORITY} and {MAX_PRIORITY}"
            )


def digest_of(key: str, name: str) -> bytes:
    """What is kept of a new key. Raises ConfigError when it cannot be sent in a header, or be guessed."""
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise ConfigError(
            f"key {name} cannot be used; a key must have {MIN_KEY_CHARS} to {MAX_KEY_CHARS} characters of "
            "ASCII, and no spaces"
        )
    return hashlib.sha256(key.encode()).digest()


class KeyRing:
    """Finds the key that was presented.

    The time it takes says nothing about a key: digests are compared, each in constant time, and all of them
    whether or not one has matched.
    """

    def __init__(self, keys: Iterable[ApiKey]) -> None:
        self._keys = tuple(keys)

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, presented: bytes) -> ApiKey | None:
        """The key that has these bytes, or None."""
        digest = hashlib.sha256(presented).digest()
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found
