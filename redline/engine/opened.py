"""OpenedModel: what LLM and AsyncLLM have in common: an engine, and what can be asked of it at any time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from redline.config.engine import EngineConfig
from redline.config.memory import MemoryBudget
from redline.core.roofline import Roofline
from redline.engine.build import build_engine
from redline.engine.engine import Engine
from redline.engine.outputs import EngineStats
from redline.engine.snapshot import Snapshot, snapshot
from redline.models.chat_template import ChatTemplate
from redline.models.spec import ModelSpec
from redline.models.tokenizer import Tokenizer
from redline.parsing.choose import OutputFormat, choose


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
    def embedding_size(self) -> int:
        """Numbers in the vector of a prompt."""
        return self._engine.model.spec.hidden_size

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        return self._engine.model.tokenizer

    @property
    def chat_template(self) -> ChatTemplate | None:
        """The model's chat template, or None."""
        return self._engine.model.chat_template

    @cached_property
    def output_format(self) -> OutputFormat:
        """How the model writes down tool calls and reasoning, as far as its chat template tells.

        `output_format.parser(names of tools)` reads an answer. Where the tags are control tokens, the request
        has to keep them: `keep_special_tokens=output_format.special_tokens(with_tools=True)`.
        """
        return choose("auto", "auto", self.chat_template)

    @property
    def spec(self) -> ModelSpec:
        """The model's shape."""
        return self._engine.model.spec

    def stats(self) -> EngineStats:
        """Gauges and counters of the engine."""
        return replace(
            self._engine.stats(),
            weight_bytes=self._memory.weight_bytes,
            kv_bytes=self._memory.kv_bytes,
            block_size=self.config.block_size,
        )

    @property
    def roofline(self) -> Roofline | None:
        """Of this model on this machine; None until somebody who knows it sets it."""
        return self._engine.meter.roofline

    @roofline.setter
    def roofline(self, roofline: Roofline | None) -> None:
        self._engine.meter.roofline = roofline

    def snapshot(self, since: int = 0) -> Snapshot:
        """What the engine is doing, with its latest decisions from event number `since` on.

        May be called at any time from any thread.
        """
        return snapshot(self._engine, since, self.roofline)

    def explain(self, request_id: str) -> list[list[str]] | None:
        """What happened to each choice of a request, and why, in sentences; None: it is not among the latest.

        Outputs and deltas carry the id.
        """
        return self._engine.explain(request_id)

    def write_trace(self, path: Path) -> None:
        """Write the scheduler's latest decisions for Perfetto or chrome://tracing. Raises OSError."""
        self._engine.write_trace(path)
