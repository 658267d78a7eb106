"""StartRate: how fast the queue moves, measured."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable

WINDOW = 64  # latest starts that are looked at
MAX_WAIT_S = 30  # clients give up rather than wait for longer


class StartRate:
    """Counts prompts that got their first token."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._starts_s: deque[float] = deque(maxlen=WINDOW)

    def started(self) -> None:
        """Another prompt has started."""
        self._starts_s.append(self._clock())

    def per_s(self) -> float:
        """Starts per second over the latest of them and the time since; 0 before the second."""
        if len(self._starts_s) < 2:
            return 0.0
        elapsed_s = self._clock() - self._starts_s[0]
        return len(self._starts_s) / elapsed_s if elapsed_s > 0 else math.inf

    def wait_s(self, count: int) -> int:
        """Whole seconds in which about `count` prompts start, 1 to MAX_WAIT_S; 1 when that is not known."""
        rate = self.per_s()
        return max(1, min(MAX_WAIT_S, math.ceil(count / rate))) if rate > 0 else 1
