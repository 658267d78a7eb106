"""resolve(): turn what the user asked for into what will run, with a reason for every "auto"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from redline.config.engine import EngineConfig, parse_bytes
from redline.errors import ConfigError

AUTO_KV_SHARE = 0.5  # of the memory that is free beside all else the process will hold
AUTO_KV_BYTES_MAX = 8 * 2**30
DEFAULT_CONTEXT_MAX = 32_768  # a longer context is honoured when asked for


@dataclass(frozen=True, kw_only=True, slots=True)
class Hardware:
    """What the machine offers."""

    num_cores: int
    free_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelLimits:
    """What resolve() must know of a model."""

    trained_context: int
    kv_bytes_per_token: dict[str, tuple[int, ...]]  # by K/V format, for each layer group
    windows: tuple[int, ...] = (0,)  # of each layer group: tokens that its layers see; 0: all


@dataclass(frozen=True, kw_only=True, slots=True)
class RuntimeConfig:
    """The part that is settled before the model is read."""

    backend: Literal["cpu", "reference"]
    compute: Literal["int8", "float"]
    kv_format: Literal["f32", "f16", "bf16", "int8", "fp8", "int4"]
    threads: int
    reasons: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheConfig:
    """The part that needs the model's shape and what memory is left beside its weights."""

    max_context: int
    num_blocks: tuple[int, ...]  # of each layer group
    kv_bytes: int
    reasons: tuple[str, ...]


def resolve_runtime(config: EngineConfig, hardware: Hardware, env_threads: int | None) -> RuntimeConfig:
    """Settle backend, number formats and threads."""
    reasons = []
    backend: Literal["cpu", "reference"] = "cpu" if config.backend == "auto" else config.backend
    if config.backend == "auto":
        reasons.append("backend=cpu: compiled kernels")
    compute: Literal["int8", "float"] = "int8" if config.compute == "auto" else config.compute
    if config.compute == "auto":
        reasons.append("compute=int8: integer kernels where the weights are stored as integers")
    kv_format: Literal["f32", "f16", "bf16", "int8", "fp8", "int4"]
    if config.kv_format != "auto":
        kv_format = config.kv_format
    else:
        kv_format = "f32" if compute == "float" else "f16"
        reasons.append(
            f"kv_format={kv_format}: " + ("float kernels" if compute == "float" else "half the bytes")
        )
    threads = config.threads or env_threads or hardware.num_cores
    if config.threads is None:
        source = "REDLINE_THREADS" if env_threads else "all cores"
        reasons.append(f"threads={threads}: {source}")
    reasons += _without_effect(config)
    return RuntimeConfig(
        backend=backend, compute=compute, kv_format=kv_format, threads=threads, reasons=tuple(reasons)
    )


def _without_effect(config: EngineConfig) -> list[str]:
    """What is on and has nothing to work with, because something else is off."""
    reasons = []
    missing = [name for name in ("kv_cache", "paged_cache") if not getattr(config, name)]
    if config.prefix_cache and missing:
        reasons.append(f"prefix_cache finds nothing: {missing[0]} is off")
    missing = [name for name in ("kv_cache", "flash_attention") if not getattr(config, name)]
    if config.graph_replay and missing:
        reasons.append(f"graph_replay records nothing: {missing[0]} is off")
    if not config.paged_cache:
        reasons.append("block_size is that of the context: paged_cache is off")
    return reasons


def resolve_cache(
    config: EngineConfig, runtime: RuntimeConfig, model: ModelLimits, hardware: Hardware
) -> CacheConfig:
    """Settle the context and the number of K/V blocks; `hardware` has what is free for these alone.

    Raises ConfigError when the budget holds not even two blocks (one, where that is all the context takes).
    """
    context, reason = resolve_context(config, model.trained_context)
    reasons = [reason] if reason else []
    block_bytes = [each * config.block_size for each in model.kv_bytes_per_token[runtime.kv_format]]
    least = least_blocks(config, context)
    useful = [_useful_blocks(config, context, window) for window in model.windows]
    if config.kv_memory == "auto":
        budget = min(int(hardware.free_bytes * AUTO_KV_SHARE), AUTO_KV_BYTES_MAX)
        budget = max(budget, least * sum(block_bytes))  # whoever calls has seen that it fits
        num_blocks = share_blocks(budget, block_bytes, useful)
        reasons.append(
            f"kv_memory={_bytes(num_blocks, block_bytes)} bytes: up to {AUTO_KV_SHARE:.0%} of the memory "
            f"left beside weights and activations, at most {AUTO_KV_BYTES_MAX // 2**30} GiB and what "
            f"{config.max_batch} sequences can fill"
        )
    else:
        budget = parse_bytes("kv_memory", config.kv_memory)
        num_blocks = share_blocks(budget, block_bytes, useful)
    if min(num_blocks) < least:
        raise ConfigError(
            f"kv_memory gives {min(num_blocks)} blocks of {config.block_size} tokens ({sum(block_bytes)} "
            f"bytes each), at least {least} are needed; raise kv_memory to {least * sum(block_bytes)} bytes "
            "or more"
        )
    return CacheConfig(
        max_context=context,
        num_blocks=num_blocks,
        kv_bytes=_bytes(num_blocks, block_bytes),
        reasons=tuple(reasons),
    )


def resolve_context(config: EngineConfig, trained_context: int) -> tuple[int, str | None]:
    """Tokens of one sequence, and why, unless the user said so. Raises ConfigError when they are too many."""
    if config.max_context is None:
        context = min(trained_context, DEFAULT_CONTEXT_MAX)
        return context, f"max_context={context}: the model was trained for {trained_context}"
    if config.max_context > trained_context:
        raise ConfigError(
            f"max_context is {config.max_context}, but the model was trained for {trained_context} "
            "tokens; lower max_context"
        )
    return config.max_context, None


def least_blocks(config: EngineConfig, context: int) -> int:
    """Of each layer group, that anything can run: two, or one where that is all the context takes."""
    return -(-min(context, 2 * config.block_size) // config.block_size)


def share_blocks(budget: int, block_bytes: Sequence[int], useful: Sequence[int]) -> tuple[int, ...]:
    """Blocks for each layer group out of `budget` bytes: equally many, but of none more than is useful.

    So short sequences, which fill all groups alike, never find one group full and another one empty.
    """
    count = 0
    for step in (1 << bit for bit in reversed(range(max(useful).bit_length()))):
        if _bytes([min(count + step, most) for most in useful], block_bytes) <= budget:
            count += step
    return tuple(min(count, most) for most in useful)


def _useful_blocks(config: EngineConfig, context: int, window: int) -> int:
    """The most that a full batch can fill; with a window, twice that, for beginnings to come back to."""
    longest = -(-context // config.block_size)
    if not window:
        return config.max_batch * longest
    held = -(-(window + (config.chunked_prefill or context)) // config.block_size) + 2
    return config.max_batch * min(longest, 2 * held)


def _bytes(num_blocks: Sequence[int], block_bytes: Sequence[int]) -> int:
    return sum(count * each for count, each in zip(num_blocks, block_bytes, strict=True))
