"""build_engine(): the only place, with scheduling.py, that reads switches.

Each is settled here by choosing an implementation.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from redline import env
from redline.cache.paged import PagedKV, block_bytes
from redline.config.engine import EngineConfig
from redline.config.resolve import ModelLimits, RuntimeConfig, resolve_cache, resolve_runtime
from redline.decoding.sampler import Sampler
from redline.engine.engine import Engine
from redline.engine.forward import EagerForward, ReplayForward
from redline.engine.inputs import PromptEncoder
from redline.engine.memory import hardware
from redline.engine.offloading import build_offloading
from redline.engine.scheduling import build_scheduler
from redline.models.load import load_model
from redline.models.pull import resolve_model
from redline.models.spec import ModelSpec
from redline.ops import memory, threads
from redline.ops.registry import backend
from redline.ops.unfused import unfused

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltEngine:
    """An engine, and why it is made as it is."""

    engine: Engine
    reasons: tuple[str, ...]
    kv_bytes: int


def build_engine(config: EngineConfig, progress: Progress | None = None) -> BuiltEngine:
    """Load the model and compose an engine for it. `progress` hears (bytes done, bytes in all).

    Raises ConfigError, ModelError or CapacityError.
    """
    runtime = resolve_runtime(config, hardware(), env.num_threads())
    ops = backend(runtime.backend) if config.fusion else unfused(backend(runtime.backend))
    threads.set_num_threads(runtime.threads)
    memory.keep_freed_memory()
    path = resolve_model(config.model)
    model = load_model(path, ops, runtime.compute, config.max_context, progress)
    spec = model.spec
    cache = resolve_cache(config, runtime, _limits(spec, runtime.kv_format), hardware())
    model.set_max_context(cache.max_context)
    kv = PagedKV(
        groups=spec.group_of_layer,
        num_blocks=cache.num_blocks,
        block_size=config.block_size,
        num_kv_heads=spec.num_kv_heads,
        head_dim=spec.head_dim,
        dtype=runtime.kv_format,
        owners=spec.kv_owners,
    )
    forward = ReplayForward if config.graph_replay and runtime.backend == "cpu" else EagerForward
    offloading = build_offloading(config, kv, path, _kv_settings(config, runtime, spec, cache.max_context))
    engine = Engine(
        model=model,
        kv=kv,
        forward=forward(model.decoder, kv),
        scheduler=build_scheduler(
            config, spec.windows, cache.num_blocks, cache.max_context, offloading.offload
        ),
        sampler=Sampler(ops),
        inputs=PromptEncoder(model.tokenizer, model.chat_template, spec.vocab_size, cache.max_context),
        max_waiting=config.max_waiting,
        clock=time.perf_counter,
        reload=offloading.reload,
    )
    reasons = runtime.reasons + cache.reasons
    return BuiltEngine(engine=engine, reasons=reasons, kv_bytes=cache.kv_bytes)


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


def _limits(spec: ModelSpec, kv_format: str) -> ModelLimits:
    """Where the format does not fit the heads, block_bytes() raises ConfigError."""
    sizes = (1, spec.num_kv_heads, spec.head_dim, kv_format)
    token_bytes = tuple(block_bytes(count, *sizes) for count in spec.kv_layers_of_group)
    return ModelLimits(
        trained_context=spec.max_context, kv_bytes_per_token={kv_format: token_bytes}, windows=spec.windows
    )
