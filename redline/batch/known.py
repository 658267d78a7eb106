"""KnownKeys: a set of strings that takes no memory to speak of, however many there are."""

from __future__ import annotations

import hashlib
import sqlite3


class KnownKeys:
    """Digests of 16 bytes in a nameless file of SQLite, which goes with the process."""

    def __init__(self) -> None:
        self._base = sqlite3.connect("", isolation_level=None)
        self._base.execute("PRAGMA journal_mode=OFF")
        self._base.execute("CREATE TABLE known (digest BLOB PRIMARY KEY) WITHOUT ROWID")

    def add(self, key: str) -> bool:
        """Remember a key; False when it is known already."""
        cursor = self._base.execute("INSERT OR IGNORE INTO known VALUES (?)", (_digest(key),))
        return cursor.rowcount == 1

    def __contains__(self, key: str) -> bool:
        found = self._base.execute("SELECT 1 FROM known WHERE digest = ?", (_digest(key),))
        return found.fetchone() is not None

    def close(self) -> None:
        """Forget all."""
        self._base.close()


def _digest(key: str) -> bytes:
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()
