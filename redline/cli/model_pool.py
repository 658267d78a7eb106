"""What a pool of models is made of: sizes, predicted from headers, and where their engines come from."""

from __future__ import annotations

import argparse
import asyncio
from dataclasses import dataclass
from typing import Any, cast

from redline.async_llm import AsyncLLM
from redline.cli.loading import fetch
from redline.cli.model_settings import ModelSetting
from redline.cli.pool_flags import RESIDENCY_S
from redline.cli.roofline import known_roofline
from redline.config.engine import parse_bytes
from redline.config.memory import RESERVE_BYTES, size
from redline.engine.memory import free_bytes
from redline.engine.opening import Prediction, predict
from redline.errors import CapacityError
from redline.ops.memory import return_freed_memory
from redline.server.config import ServerConfig
from redline.server.engine import ServedEngine
from redline.server.pool.config import PoolConfig
from redline.server.pool.entry import ModelEntry

FREE_SHARE = 0.8  # of what is free; the rest is for growth of the process, and for other programs
VOCABULARY_BYTES = 300  # of a token, in tokenizer and chat template (docs/memory.md)


@dataclass(frozen=True, slots=True)
class EngineSource:
    """Loads one model into an AsyncLLM."""

    model: str
    options: dict[str, Any]

    async def open(self) -> ServedEngine:
        """Raises what AsyncLLM raises."""
        return await asyncio.to_thread(self._open)

    def _open(self) -> AsyncLLM:
        llm = AsyncLLM(self.model, **self.options)
        llm.roofline = known_roofline(llm)
        return llm

    async def close(self, engine: ServedEngine) -> None:
        """What is cached is lost, or kept in its `cache_dir`."""
        await cast(AsyncLLM, engine).close()

    def give_back(self) -> None:
        """To the system."""
        return_freed_memory()


def pool_config(args: argparse.Namespace) -> PoolConfig:
    """What the flags say of all models together. Raises ConfigError."""
    if args.models_memory is None:
        num_bytes = int(free_bytes() * FREE_SHARE)
    else:
        num_bytes = parse_bytes("--models-memory", args.models_memory)
    return PoolConfig(
        memory_bytes=num_bytes,
        max_loaded=args.max_models,
        residency_s=RESIDENCY_S if args.residency is None else args.residency,
        idle_unload_s=args.unload_idle,
    )


def model_entries(
    settings: list[ModelSetting], pool: PoolConfig, config: ServerConfig
) -> tuple[list[ModelEntry], list[str]]:
    """The entries, and lines that tell what they will take. Models that are not there yet are downloaded.

    A model gets an equal share of the memory, or all of it where that is too little. Its K/V blocks follow
    from that, so they are as many at each load. Raises CapacityError, with the arithmetic, for one that can
    never be loaded, and what opening its files raises.
    """
    share = pool.memory_bytes // min(len(settings), pool.max_loaded or len(settings))
    entries, lines = [], [f"models, of {size(pool.memory_bytes)} together"]
    for setting in settings:
        fetch(setting.model)
        options, prediction = _predicted(setting, share, pool.memory_bytes)
        entries.append(_entry(setting, options, prediction, config))
        lines.append(_line(entries[-1], prediction))
    return entries, lines


def _predicted(setting: ModelSetting, share: int, most: int) -> tuple[dict[str, Any], Prediction]:
    limits = [share, most] if setting.options.get("memory") is None else [setting.options["memory"]]
    for limit in limits:
        options = {**setting.options, "memory": limit}
        try:
            return options, predict(setting.engine_config(memory=limit), most + RESERVE_BYTES)
        except CapacityError as error:
            failure = error
    raise CapacityError(f"{setting.name or setting.model} can never be loaded: {failure}")


def _entry(
    setting: ModelSetting, options: dict[str, Any], prediction: Prediction, config: ServerConfig
) -> ModelEntry:
    aliases = setting.aliases if setting.name is not None else (setting.model,)
    return ModelEntry(
        name=setting.name or prediction.name,
        aliases=aliases,
        source=EngineSource(setting.model, options),
        num_bytes=prediction.memory.needed_bytes + VOCABULARY_BYTES * prediction.vocab_size,
        max_context=prediction.max_context,
        embedding_size=prediction.hidden_size,
        tool_call_parser=setting.tool_call_parser or config.tool_call_parser,
        reasoning_parser=setting.reasoning_parser or config.reasoning_parser,
    )


def _line(entry: ModelEntry, prediction: Prediction) -> str:
    memory = prediction.memory
    parts = f"weights {size(memory.weight_bytes)}, K/V {size(memory.kv_bytes)}"
    return f"  {', '.join(entry.names)}: {size(entry.num_bytes)} ({parts})"
