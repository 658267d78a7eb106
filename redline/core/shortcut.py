"""Shortcut: for what need not wait until its reader has been woken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Shortcut:
    """Takes deltas of a request on the event loop, in place of the task that waits for them.

    Waking a task, and all the generators between it and the engine, is half of what a streamed token costs.
    `take` is asked only while the task waits and nothing lies there for it, so the order stays. It returns
    False for what it leaves to the task; None: it leaves everything.
    """

    def __init__(self) -> None:
        self.take: Callable[[Any], bool] | None = None
