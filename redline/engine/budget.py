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
from redline.engine.activations import Kind, arena_blocks, recorded_bytes, step_bytes
from redline.engine.drafting_memory import NO_DRAFTING, OUTPUT_BYTES, DraftingMemory
from redline.engine.forward import LEAST_WIDTH, MAX_GRAPHS
from redline.layers.rotary import table_bytes
from redline.models.decoder import Decoder
from redline.models.sized_weights import Sizes
from redline.models.spec import ModelSpec

TOKEN_BYTES = 32  # of a token in the prefix index: its id, as part of a block's key
SPECULATIVE_ROWS = 16  # of a step, however small the batch
BLOCK_BYTES = 736  # of a block beside its tokens: in the prefix index, in pools and tables
# What kernels keep from call to call. The calling thread: the rows that all threads read, cut to fit a cache.
# Each thread: panels of eight strips of weights, a tile of attention. Each matrix: a number for each output.
ROWS_BYTES = 2 * MIB
THREAD_BYTES = 256 * KIB
THREAD_INPUT_BYTES = 256


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
    drafting: DraftingMemory = NO_DRAFTING,
) -> PlannedMemory:
    """Pure: the same header, configuration and memory give the same budget.

    `sized` is what ModelFiles.size() returned, `kind` what the engine does to its ops. `hardware` has the
    bytes that are free while the process holds `process_bytes`. Raises ConfigError, and CapacityError when
    even the least that it needs does not fit.
    """
    model = _Model(config, runtime, *sized, kind, drafting)
    base = MemoryBudget(process_bytes=process_bytes, free_bytes=hardware.free_bytes)
    # With the largest steps that any cache allows: "auto" must not live off what these need.
    least = model.budget(base, model.least_blocks)
    least = replace(model.budget(base, model.useful_blocks), kv=least.kv, table_bytes=least.table_bytes)
    if config.kv_memory == "auto":
        check_fits(least, config.model)
    room = max(0, least.left_bytes + least.kv_bytes - RESERVE_BYTES)
    cache = resolve_cache(config, runtime, model.limits, replace(hardware, free_bytes=room))
    budget = model.budget(base, cache.num_blocks)
    check_fits(budget, config.model)
    return PlannedMemory(budget=budget, cache=cache, arena_blocks=model.arena_blocks)


class _Model:
    """A model as one configuration runs it."""

    def __init__(
        self,
        config: EngineConfig,
        runtime: RuntimeConfig,
        decoder: Decoder,
        sizes: Sizes,
        kind: Kind,
        drafting: DraftingMemory,
    ) -> None:
        self.config, self.runtime, self.decoder, self.sizes, self.kind = config, runtime, decoder, sizes, kind
        self.drafting = drafting
        self.spec = decoder.spec
        self.limits = model_limits(self.spec, runtime.kv_format, drafting.kv_token_bytes)
        self.context, _ = resolve_context(config, self.spec.max_context)
        blocks = arena_blocks(decoder, kind, most_decode_rows(config)) if replays(config, runtime) else []
        self.arena_blocks = blocks

    @property
    def least_blocks(self) -> tuple[int, ...]:
        """Without which nothing runs."""
        return (least_blocks(self.config, self.context),) * len(self.spec.windows)

    @property
    def useful_blocks(self) -> tuple[int, ...]:
        """At least as many as can be filled."""
        return (self.config.max_batch * self.context,) * len(self.spec.windows)

    def budget(self, base: MemoryBudget, num_blocks: tuple[int, ...]) -> MemoryBudget:
        """`base` with all that so many blocks of each kind of layer allow."""
        config, cached = self.config, self._cached_tokens(num_blocks)
        longest = min(self.context, cached)
        trace = (config.trace_events or 0) * EVENT_BYTES
        of_block = BLOCK_BYTES + config.block_size * TOKEN_BYTES + self.drafting.note_bytes
        return replace(
            base,
            weight_bytes=self.sizes.num_bytes,
            rotary_bytes=sum(table_bytes(rope, longest) for rope in self.spec.ropes),
            activation_bytes=self._activation_bytes(cached),
            graph_bytes=self._graph_bytes(longest),
            scratch_bytes=self._scratch_bytes(),
            table_bytes=trace + num_blocks[0] * of_block,
            drafting_bytes=self.drafting.fixed_bytes,
            offload_bytes=_offload_bytes(config),
            kv=self._kv(num_blocks),
        )

    def _cached_tokens(self, num_blocks: tuple[int, ...]) -> int:
        """How many a full cache holds; layers with windows alone give theirs up as they go."""
        most = self.config.max_batch * self.context
        return most if self.spec.windows[0] else min(most, num_blocks[0] * self.config.block_size)

    def _activation_bytes(self, cached_tokens: int) -> int:
        """Of the largest step: as many tokens as it may have, and logits for a full batch."""
        batch, chunk = self.config.max_batch, self.config.chunked_prefill
        num_tokens = min(self.context + batch if chunk is None else chunk, cached_tokens)
        num_rows = min(most_decode_rows(self.config), num_tokens)
        step = max(step_bytes(self.decoder, self.kind, num_tokens, num_rows), self.drafting.step_bytes)
        return step if self.config.flash_attention else step + self._score_bytes(num_tokens, cached_tokens)

    def _score_bytes(self, num_tokens: int, cached_tokens: int) -> int:
        """Of whole matrices of scores, each of which is there twice or three times while it is worked on."""
        context = min(self.context, cached_tokens)
        dense = 2 * self.spec.num_heads * self.spec.head_dim * context
        return 4 * (3 * self.spec.num_heads * min(num_tokens, context) * context + dense)

    def _graph_bytes(self, longest: int) -> int:
        """Of as many recorded steps as there are sizes of batches and widths of block tables."""
        if not self.arena_blocks:
            return 0
        num_widths, width = 1, LEAST_WIDTH
        while width * self.config.block_size < longest:
            num_widths, width = num_widths + 1, 2 * width
        num_graphs = MAX_GRAPHS if drafts(self.config) else self.config.max_batch * num_widths
        num_graphs = min(MAX_GRAPHS, num_graphs)
        return sum(self.arena_blocks) + recorded_bytes(self.spec.num_layers, num_graphs)

    def _scratch_bytes(self) -> int:
        of_thread = THREAD_BYTES + THREAD_INPUT_BYTES * self.sizes.most_inputs
        return ROWS_BYTES + self.runtime.threads * of_thread + OUTPUT_BYTES * self.sizes.num_outputs

    def _kv(self, num_blocks: tuple[int, ...]) -> tuple[KVBudget, ...]:
        spec, block_size = self.spec, self.config.block_size
        token_bytes = kv_token_bytes(spec, self.runtime.kv_format)
        kinds = [
            KVBudget(
                window=window,
                num_layers=spec.kv_layers_of_group[group],
                num_sharing=spec.group_of_layer.count(group) - spec.kv_layers_of_group[group],
                block_size=block_size,
                block_bytes=token_bytes[group] * block_size,
                num_blocks=num_blocks[group],
            )
            for group, window in enumerate(spec.windows)
        ]
        if self.drafting.kv_token_bytes:
            kinds.append(self._draft_kv(num_blocks[0]))
        return tuple(kinds)

    def _draft_kv(self, num_blocks: int) -> KVBudget:
        return KVBudget(
            name="draft K/V",
            window=0,
            num_layers=self.drafting.num_kv_layers,
            num_sharing=0,
            block_size=self.config.block_size,
            block_bytes=self.drafting.kv_token_bytes * self.config.block_size,
            num_blocks=num_blocks,
        )


def most_decode_rows(config: EngineConfig) -> int:
    """The most rows of a step that only decodes, drafts included."""
    return max(config.max_batch, SPECULATIVE_ROWS) if drafts(config) else config.max_batch


def drafts(config: EngineConfig) -> bool:
    """Whether steps may compute tokens before they are known."""
    return config.speculative is not None or config.jump_ahead


def replays(config: EngineConfig, runtime: RuntimeConfig) -> bool:
    """Whether decode steps are recorded, which takes kernels alone."""
    return config.graph_replay and config.flash_attention and runtime.backend == "cpu"


def model_limits(spec: ModelSpec, kv_format: str, draft_token_bytes: int = 0) -> ModelLimits:
    """`draft_token_bytes`: what a draft model keeps of a token, in blocks that go with those of group 0."""
    first, *others = kv_token_bytes(spec, kv_format)
    return ModelLimits(
        trained_context=spec.max_context,
        kv_bytes_per_token={kv_format: (first + draft_token_bytes, *others)},
        windows=spec.windows,
    )


def kv_token_bytes(spec: ModelSpec, kv_format: str) -> tuple[int, ...]:
    """Of each layer group. Where the format does not fit the heads, block_bytes() raises ConfigError."""
    sizes = (1, spec.num_kv_heads, spec.head_dim, kv_format)
    return tuple(block_bytes(count, *sizes) for count in spec.kv_layers_of_group)


def _offload_bytes(config: EngineConfig) -> int:
    return 0 if config.offload_memory is None else parse_bytes("offload_memory", config.offload_memory)
