"""ModelReadiness: whether one model of several takes requests."""

from __future__ import annotations

from redline.server.errors import HTTPError
from redline.server.readiness import Readiness


class ModelReadiness(Readiness):
    """What was accepted before the server began to drain is served, also if it had to wait for its model."""

    def __init__(self, server: Readiness, step_timeout_s: float | None) -> None:
        super().__init__(step_timeout_s)
        self._server = server

    def check(self) -> None:
        """Raises HTTPError 503 when its engine can do nothing. Others ask whether the server drains."""
        problem = super().problem()
        if problem is not None:
            raise problem

    def problem(self) -> HTTPError | None:
        """What is in the way of new requests for this model."""
        return self._server.draining_problem() or super().problem()
