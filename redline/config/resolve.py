"""resolve(): turn what the user asked for into what will run, with a reason for every "auto"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from redline.config.engine import EngineConfig, parse_bytes
from redline.errors import ConfigError

AUTO_KV_SHARE = 0.5  # of the memory that is free once the weights are in
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
    kv_bytes_per_token: dict[str, int]  # by K/V format, all layers


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
    num_blocks: int
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
    return RuntimeConfig(
        backend=backend, compute=compute, kv_format=kv_format, threads=threads, reasons=tuple(reasons)
    )


def resolve_cache(
    config: EngineConfig, runtime: RuntimeConfig, model: ModelLimits, hardware: Hardware
) -> CacheConfig:
    """Settle the context and the number of K/V blocks.

    Raises ConfigError when the budget holds not even two blocks (one, where that is all the context takes).
    """
    reasons: list[str] = []
    context = _context(config, model, reasons)
    block_bytes = model.kv_bytes_per_token[runtime.kv_format] * config.block_size
    useful = config.max_batch * -(-context // config.block_size)  # no batch can fill more
    if config.kv_memory == "auto":
        budget = min(int(hardware.free_bytes * AUTO_KV_SHARE), AUTO_KV_BYTES_MAX)
        num_blocks = min(budget // block_bytes, useful)
        reasons.append(
            f"kv_memory={num_blocks * block_bytes} bytes: up to {AUTO_KV_SHARE:.0%} of the free memory, "
            f"at most {AUTO_KV_BYTES_MAX // 2**30} GiB and what {config.max_batch} sequences can fill"
        )
    else:
        num_blocks = min(parse_bytes("kv_memory", config.kv_memory) // block_bytes, useful)
    least = -(-min(context, 2 * config.block_size) // config.block_size)
    if num_blocks < least:
        raise ConfigError(
            f"kv_memory gives {num_blocks} blocks of {config.block_size} tokens ({block_bytes} bytes each), "
            f"at least {least} are needed; raise kv_memory to {least * block_bytes} bytes or more"
        )
    return CacheConfig(
        max_context=context, num_blocks=num_blocks, kv_bytes=num_blocks * block_bytes, reasons=tuple(reasons)
    )


def _context(config: EngineConfig, model: ModelLimits, reasons: list[str]) -> int:
    if config.max_context is None:
        context = min(model.trained_context, DEFAULT_CONTEXT_MAX)
        reasons.append(f"max_context={context}: the model was trained for {model.trained_context}")
        return context
    if config.max_context > model.trained_context:
        raise ConfigError(
            f"max_context is {config.max_context}, but the model was trained for {model.trained_context} "
            "tokens; lower max_context"
        )
    return config.max_context
