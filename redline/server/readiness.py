"""Readiness: whether new requests are taken, and why not."""

from __future__ import annotations

import logging
from typing import Protocol

from redline.server.errors import HTTPError, engine_dead, unavailable

logger = logging.getLogger("redline.server")

LOADING_RETRY_S = 5


class Watched(Protocol):
    """What the watchdog looks at: an engine, or all engines of a process."""

    @property
    def healthy(self) -> bool:
        """False once it can serve nothing any more."""

    @property
    def stalled_s(self) -> float:
        """Seconds since a step ended, or work came; 0 while there is nothing to do."""


class Readiness:
    """Not while the model loads, after the engine has stopped, while it is stuck, and once the server drains.

    The watchdog is a question, not a task: an engine that has work and has ended no step for step_timeout_s
    counts as stuck when someone asks, and no longer when a step ends.
    """

    def __init__(self, step_timeout_s: float | None) -> None:
        self._step_timeout_s = step_timeout_s
        self._engine: Watched | None = None
        self._was_stuck = False
        self.draining = False

    def loaded(self, engine: Watched) -> None:
        """The engine is there."""
        self._engine = engine

    @property
    def stuck(self) -> bool:
        """True while the watchdog says so."""
        stuck = self._is_stuck()
        if stuck != self._was_stuck:
            self._was_stuck = stuck
            logger.error(
                "no step has ended for %s s" if stuck else "steps end again (limit: %s s)",
                self._step_timeout_s,
            )
        return stuck

    def check(self) -> None:
        """Raises HTTPError 503 when nothing new is taken."""
        problem = self.problem()
        if problem is not None:
            raise problem

    def problem(self) -> HTTPError | None:
        """What is in the way of new requests."""
        if (draining := self.draining_problem()) is not None:
            return draining
        if self._engine is None:
            return unavailable("the model is still loading", "loading", LOADING_RETRY_S)
        if not self._engine.healthy:
            return engine_dead()
        if self.stuck:
            return unavailable(f"the engine has ended no step for {self._step_timeout_s} s", "engine_stuck")
        return None

    def draining_problem(self) -> HTTPError | None:
        """That the server ends."""
        return shutting_down() if self.draining else None

    def _is_stuck(self) -> bool:
        if self._engine is None or self._step_timeout_s is None:
            return False
        return self._engine.stalled_s > self._step_timeout_s


def shutting_down() -> HTTPError:
    """503: another server must answer."""
    return unavailable("the server is shutting down", "shutting_down")
