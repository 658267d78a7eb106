"""plan_memory(): the K/V blocks that fit, and all that the process will hold, before a weight is read.

Most terms follow from shapes: weights, rotary tables, activations, decode graphs, keys and values. What
Python and the kernels keep for themselves was measured once, on CPython 3.11 with glibc;
tests/engine/test_budget.py holds the sum to what processes use.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from redline.cache.paged import block_bytes
from redline.config.engine import EngineConfig, parse_bytes
from redline.config.memory import KIB, MIB, RESERVE_BYTES, KVBudget, MemoryBudget, check_fits
from redline.config.resolve import (
    CacheConfig,
    Hardware,
    ModelLimits,
    RuntimeConfig,
    least_blocks,
    resolve_cache,
    resolve_context,
)
from redline.core.trace import EVENT_BYTES
from redline.engine.activations import Kind, arena_blocks, step_bytes
from redline.engine.forward import LEAST_WIDTH, MAX_GRAPHS
from redline.layers.rotary import table_bytes
from redline.models.decoder import Decoder
from redline.models.sized_weights import Sizes
from redline.models.spec import ModelSpec

GRAPH_CALL_BYTES = 314  # of a recorded kernel call, its share of the graph's arrays included
CALLS_PER_LAYER = 5
TOKEN_BYTES = 32  # of a token in the prefix index: its id, as part of a block's key
BLOCK_BYTES = 736  # of a block beside its tokens: in the prefix index, in pools and tables
# What kernels keep from call to call. The calling thread: the rows that all threads read, cut to fit a cache.
# Each thread: panels of eight strips of weights, a tile of attention. Each matrix: a number for each output.
ROWS_BYTES = 2 * MIB
THREAD_BYTES = 256 * KIB
THREAD_INPUT_BYTES = 256
OUTPUT_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedMemory:
    """What to build. `arena_blocks`: see redline/engine/activations.py."""

    budget: MemoryBudget
    cache: CacheConfig
    arena_blocks: list[int]


def plan_memory(
    config: EngineConfig,
    runtime: RuntimeConfig,
    sized: tuple[Decoder, Sizes],
    kind: Kind,
    hardware: Hardware,
    process_bytes: int,
) -> PlannedMemory:
    """Pure: the same header, configuration and memory give the same budget.

    `sized` is what ModelFiles.size() returned, `kind` what the engine does to its ops. `hardware` has the
    bytes that are free while the process holds `process_bytes`. Raises ConfigError, and CapacityError when
    even the least that it needs does not fit.
    """
    decoder, sizes = sized
    spec, limits = decoder.spec, model_limits(decoder.spec, runtime.kv_format)
    context, _ = resolve_context(config, spec.max_context)
    blocks = arena_blocks(decoder, kind, config.max_batch) if replays(config, runtime) else []
    fixed = MemoryBudget(
        process_bytes=process_bytes,
        weight_bytes=sizes.num_bytes,
        rotary_bytes=sum(table_bytes(rope, context) for rope in spec.ropes),
        activation_bytes=_activation_bytes(config, decoder, kind, context),
        graph_bytes=sum(blocks) + _graph_bytes(config, spec, context) if blocks else 0,
        scratch_bytes=_scratch_bytes(runtime, sizes),
        table_bytes=(config.trace_events or 0) * EVENT_BYTES,
        offload_bytes=_offload_bytes(config),
        kv=(),
        free_bytes=hardware.free_bytes,
    )

    def with_cache(num_blocks: tuple[int, ...]) -> MemoryBudget:
        kv = _kv(config, limits, spec, runtime.kv_format, num_blocks)
        tables = fixed.table_bytes + num_blocks[0] * (BLOCK_BYTES + config.block_size * TOKEN_BYTES)
        return replace(fixed, kv=kv, table_bytes=tables)

    check_fits(with_cache((least_blocks(config, context),) * len(limits.windows)), config.model)
    room = replace(hardware, free_bytes=max(0, fixed.left_bytes - RESERVE_BYTES))
    cache = resolve_cache(config, runtime, limits, room)
    budget = with_cache(cache.num_blocks)
    check_fits(budget, config.model)
    return PlannedMemory(budget=budget, cache=cache, arena_blocks=blocks)


def replays(config: EngineConfig, runtime: RuntimeConfig) -> bool:
    """Whether decode steps are recorded."""
    return config.graph_replay and runtime.backend == "cpu"


def model_limits(spec: ModelSpec, kv_format: str) -> ModelLimits:
    """Where the format does not fit the heads, block_bytes() raises ConfigError."""
    sizes = (1, spec.num_kv_heads, spec.head_dim, kv_format)
    token_bytes = tuple(block_bytes(count, *sizes) for count in spec.kv_layers_of_group)
    return ModelLimits(
        trained_context=spec.max_context, kv_bytes_per_token={kv_format: token_bytes}, windows=spec.windows
    )


def _activation_bytes(config: EngineConfig, decoder: Decoder, kind: Kind, context: int) -> int:
    """Of the largest step: as many tokens as it may have, and logits for a full batch."""
    most = context + config.max_batch if config.chunked_prefill is None else config.chunked_prefill
    num_tokens = min(most, config.max_batch * context)
    return step_bytes(decoder, kind, num_tokens, min(config.max_batch, num_tokens))


def _graph_bytes(config: EngineConfig, spec: ModelSpec, context: int) -> int:
    """Of as many recorded steps as there are sizes of batches and widths of block tables."""
    num_widths, width = 1, LEAST_WIDTH
    while width * config.block_size < context:
        num_widths, width = num_widths + 1, 2 * width
    num_graphs = min(MAX_GRAPHS, config.max_batch * num_widths)
    return num_graphs * spec.num_layers * CALLS_PER_LAYER * GRAPH_CALL_BYTES


def _scratch_bytes(runtime: RuntimeConfig, sizes: Sizes) -> int:
    of_thread = THREAD_BYTES + THREAD_INPUT_BYTES * sizes.most_inputs
    return ROWS_BYTES + runtime.threads * of_thread + OUTPUT_BYTES * sizes.num_outputs


def _offload_bytes(config: EngineConfig) -> int:
    return 0 if config.offload_memory is None else parse_bytes("offload_memory", config.offload_memory)


def _kv(
    config: EngineConfig,
    limits: ModelLimits,
    spec: ModelSpec,
    kv_format: str,
    num_blocks: tuple[int, ...],
) -> tuple[KVBudget, ...]:
    return tuple(
        KVBudget(
            window=window,
            num_layers=stored,
            num_sharing=spec.group_of_layer.count(group) - stored,
            block_size=config.block_size,
            block_bytes=limits.kv_bytes_per_token[kv_format][group] * config.block_size,
            num_blocks=num_blocks[group],
        )
        for group, (window, stored) in enumerate(zip(spec.windows, spec.kv_layers_of_group, strict=True))
    )
