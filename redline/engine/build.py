"""build_engine(): the only place, with scheduling.py and budget.py, that reads switches.

Each is settled here by choosing an implementation.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from redline import env
from redline.cache.paged import PagedKV
from redline.config.engine import EngineConfig
from redline.config.memory import MemoryBudget
from redline.config.resolve import RuntimeConfig, resolve_runtime
from redline.config.speculative import SpeculativeConfig
from redline.decoding.sampler import Sampler
from redline.decoding.speculative.history import HistoryProposer
from redline.decoding.speculative.ngram import NgramProposer
from redline.decoding.speculative.proposer import Proposer
from redline.engine.budget import most_decode_rows, plan_memory, replays
from redline.engine.engine import Engine
from redline.engine.forward import EagerForward, ReplayForward
from redline.engine.inputs import PromptEncoder
from redline.engine.memory import hardware, rss_bytes
from redline.engine.offloading import build_offloading
from redline.engine.scheduling import build_scheduler
from redline.engine.speculation import AdaptiveSpeculation, NoSpeculation, Speculation
from redline.models.load import open_files
from redline.models.pull import resolve_model
from redline.models.spec import ModelSpec
from redline.ops import memory, threads
from redline.ops.registry import Backend, backend
from redline.ops.unfused import unfused

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
    runtime = resolve_runtime(config, hardware(), env.num_threads())
    kind = _as_it_is if config.fusion else unfused
    ops = kind(backend(runtime.backend))
    threads.set_num_threads(runtime.threads)
    memory.keep_freed_memory()
    path = resolve_model(config.model)
    files = open_files(path)
    planned = plan_memory(config, runtime, files.size(ops, runtime.compute), kind, hardware(), rss_bytes())
    cache = planned.cache
    model = files.load(ops, runtime.compute, cache.max_context, progress)
    spec = model.spec
    kv = PagedKV(
        groups=spec.group_of_layer,
        num_blocks=cache.num_blocks,
        block_size=config.block_size,
        num_kv_heads=spec.num_kv_heads,
        head_dim=spec.head_dim,
        dtype=runtime.kv_format,
        owners=spec.kv_owners,
    )
    offloading = build_offloading(config, kv, path, _kv_settings(config, runtime, spec, cache.max_context))
    replay = replays(config, runtime)
    engine = Engine(
        model=model,
        kv=kv,
        forward=ReplayForward(model.decoder, kv, planned.arena_blocks, most_decode_rows(config))
        if replay
        else EagerForward(model.decoder, kv),
        scheduler=build_scheduler(
            config, spec.windows, cache.num_blocks, cache.max_context, offloading.offload
        ),
        sampler=Sampler(ops),
        inputs=PromptEncoder(model.tokenizer, model.chat_template, spec.vocab_size, cache.max_context),
        max_waiting=config.max_waiting,
        clock=time.perf_counter,
        reload=offloading.reload,
        speculation=_speculation(config),
    )
    reasons = runtime.reasons + cache.reasons
    return BuiltEngine(engine=engine, reasons=reasons, memory=planned.budget)


_PROPOSERS: dict[str, Callable[[SpeculativeConfig], Proposer]] = {
    "ngram": lambda options: NgramProposer(options.min_match, options.max_match),
    "history": lambda options: HistoryProposer(options.min_match, options.max_match, options.history_tokens),
}


def _speculation(config: EngineConfig) -> Speculation:
    options = SpeculativeConfig.parse(config.speculative)
    if options is None:
        return NoSpeculation()
    proposer = _PROPOSERS[options.method](options)
    return AdaptiveSpeculation(proposer, options.max_draft_tokens, most_decode_rows(config))


def _as_it_is(ops: Backend) -> Backend:
    return ops


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
