"""OpenedModel: what LLM and AsyncLLM have in common: an engine, and what can be asked of it at any time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from redline.config.engine import EngineConfig
from redline.config.memory import MemoryBudget
from redline.engine.build import build_engine
from redline.engine.engine import Engine
from redline.engine.outputs import EngineStats
from redline.models.chat_template import ChatTemplate
from redline.models.spec import ModelSpec
from redline.models.tokenizer import Tokenizer


class OpenedModel:
    """A loaded model and its engine. `reasons` says how each "auto" was settled.

    Keyword options are the fields of EngineConfig; `progress` hears (bytes loaded, bytes in all). Raises
    ConfigError, ModelError or CapacityError.
    """

    def __init__(
        self, model: str, *, progress: Callable[[int, int], None] | None = None, **options: Any
    ) -> None:
        self.config = EngineConfig.from_dict({"model": model, **options})
        built = build_engine(self.config, progress)
        self.reasons = built.reasons
        self._memory = built.memory
        self._engine: Engine = built.engine

    @property
    def memory(self) -> MemoryBudget:
        """What this process holds when every K/V block has been used, as worked out before it loaded."""
        return self._memory

    @property
    def kv_bytes(self) -> int:
        """Bytes of all K/V blocks."""
        return self._memory.kv_bytes

    @property
    def model_name(self) -> str:
        """The model's own name."""
        return self._engine.model.name

    @property
    def max_context(self) -> int:
        """Tokens that prompt and answer may have together."""
        return self._engine.model.max_context

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        return self._engine.model.tokenizer

    @property
    def chat_template(self) -> ChatTemplate | None:
        """The model's chat template, or None."""
        return self._engine.model.chat_template

    @property
    def spec(self) -> ModelSpec:
        """The model's shape."""
        return self._engine.model.spec

    def stats(self) -> EngineStats:
        """Gauges and counters of the engine."""
        return self._engine.stats()

    def explain(self, request_id: str) -> list[list[str]] | None:
        """What happened to each choice of a request, and why, in sentences; None: it is not among the latest.

        Outputs and deltas carry the id.
        """
        return self._engine.explain(request_id)

    def write_trace(self, path: Path) -> None:
        """Write the scheduler's latest decisions for Perfetto or chrome://tracing. Raises OSError."""
        self._engine.write_trace(path)
