"""ModelEntry: one model that a pool can load, as it is known before it is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from redline.server.engine import ServedEngine


class ModelSource(Protocol):
    """Where the engine of one model comes from, and goes to."""

    async def open(self) -> ServedEngine:
        """Load the model, off the event loop. What goes wrong is raised."""

    async def close(self, engine: ServedEngine) -> None:
        """Stop an engine that answers nobody any more."""

    def give_back(self) -> None:
        """Give the memory of what was closed back to the system; called in a thread."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelEntry:
    """A model's names and what it will be. `num_bytes`: all that it takes besides the process."""

    name: str
    source: ModelSource
    num_bytes: int
    max_context: int
    embedding_size: int
    aliases: tuple[str, ...] = ()
    tool_call_parser: str = "auto"
    reasoning_parser: str = "auto"

    @property
    def names(self) -> tuple[str, ...]:
        """Its name, and what else requests may call it."""
        return tuple(dict.fromkeys((self.name, *self.aliases)))
