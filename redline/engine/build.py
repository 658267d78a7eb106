"""build_engine(): the only place, with scheduling.py, speculating.py and budget.py, that reads switches.

Each is settled here by choosing an implementation.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from redline.cache.paged import PagedKV
from redline.config.engine import EngineConfig
from redline.config.memory import MemoryBudget
from redline.config.resolve import RuntimeConfig
from redline.decoding.sampler import Sampler
from redline.decoding.structured.compiler import GrammarCompiler
from redline.decoding.structured.jump_ahead import JumpAhead, NoJumpAhead
from redline.engine.beams import Beams
from redline.engine.budget import most_decode_rows, replays
from redline.engine.engine import Engine
from redline.engine.forward import EagerForward, Forward, ReplayForward
from redline.engine.inputs import PromptEncoder
from redline.engine.layer_contrast import LayerContrast
from redline.engine.offloading import build_offloading
from redline.engine.opening import open_model
from redline.engine.scheduling import build_scheduler
from redline.engine.scoring import Scorer
from redline.engine.speculating import Parts
from redline.engine.structured import StructuredDecoding
from redline.models.spec import ModelSpec
from redline.ops import memory, threads

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltEngine:
    """An engine, and why it is made as it is."""

    engine: Engine
    reasons: tuple[str, ...]
    memory: MemoryBudget


def build_engine(config: EngineConfig, progress: Progress | None = None) -> BuiltEngine:
    """Load the model and compose an engine for it. `progress` hears (bytes done, bytes in all).

    Raises ConfigError, ModelError or CapacityError.
    """
    memory.keep_freed_memory()
    opened = open_model(config)
    runtime, ops, files, speculation = opened.runtime, opened.ops, opened.files, opened.speculation
    threads.set_num_threads(runtime.threads)
    config = opened.config
    planned = opened.plan(config)
    cache = planned.cache
    model = files.load(ops, runtime.compute, cache.max_context, progress)
    spec = model.spec
    sizes = (config.block_size, spec.num_kv_heads, spec.head_dim)
    kv = PagedKV(spec.group_of_layer, cache.num_blocks, *sizes, runtime.kv_format, spec.kv_owners)
    settings = _kv_settings(config, runtime, spec, cache.max_context)
    offloading = build_offloading(config, kv, files.path, settings)
    forward: Forward = EagerForward(model.decoder, kv)
    if replays(config, runtime):
        forward = ReplayForward(model.decoder, kv, planned.arena_blocks, most_decode_rows(config))
    engine = Engine(
        model=model,
        kv=kv,
        forward=forward,
        scheduler=build_scheduler(
            config, spec.windows, cache.num_blocks, cache.max_context, offloading.offload
        ),
        sampler=Sampler(ops),
        beams=Beams(ops, model.tokenizer),
        inputs=PromptEncoder(model.tokenizer, model.chat_template, spec.vocab_size, cache.max_context),
        structured=StructuredDecoding(
            GrammarCompiler(model.tokenizer, spec.vocab_size),
            JumpAhead() if config.jump_ahead else NoJumpAhead(),
            most_decode_rows(config),
        ),
        max_waiting=config.max_waiting,
        clock=time.perf_counter,
        scorer=Scorer(model.decoder, kv),
        contrast=LayerContrast(model.decoder, kv),
        reload=offloading.reload,
        speculation=speculation.build(Parts(model, kv, forward, cache)),
    )
    reasons = runtime.reasons + cache.reasons
    return BuiltEngine(engine=engine, reasons=reasons, memory=planned.budget)


def _kv_settings(
    config: EngineConfig, runtime: RuntimeConfig, spec: ModelSpec, max_context: int
) -> dict[str, object]:
    """What the numbers in the cache depend on besides the model's files and the kernels."""
    dynamic = any(rope.kind == "dynamic" for rope in spec.ropes)  # their angles depend on the context
    return {
        "backend": runtime.backend,
        "compute": runtime.compute,
        "kv_format": runtime.kv_format,
        "block_size": config.block_size,
        "max_context": max_context if dynamic else None,
    }
