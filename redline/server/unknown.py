"""UnknownNames: tells the operator, once, about request fields that nobody defines."""

from __future__ import annotations

import logging

logger = logging.getLogger("redline.server")

MAX_NAMES = 100
MAX_NAME_CHARS = 60


class UnknownNames:
    """Remembers a bounded number of names, so that hostile requests fill neither memory nor log."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def report(self, names: set[str]) -> None:
        """Log the names that are new."""
        for name in sorted(names)[:MAX_NAMES]:
            short = name[:MAX_NAME_CHARS]
            if short not in self._seen and len(self._seen) < MAX_NAMES:
                self._seen.add(short)
                logger.warning("request field %r is not known here and is ignored", short)
