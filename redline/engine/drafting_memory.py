"""DraftingMemory: what a proposer that runs a model holds beside the model, before a weight is read."""

from __future__ import annotations

from dataclasses import dataclass

from redline.cache.paged import block_bytes
from redline.config.engine import EngineConfig
from redline.config.resolve import RuntimeConfig
from redline.config.speculative import MAX_SPECULATIVE_TOKENS
from redline.engine.activations import Kind, arena_blocks, recorded_bytes, step_bytes
from redline.engine.eagle import MOST_KEPT
from redline.engine.forward import MAX_GRAPHS
from redline.layers.rotary import table_bytes
from redline.models.decoder import Decoder
from redline.models.sized_weights import Sizes
from redline.models.spec import ModelSpec

KEY_BYTES = 180  # of a block, in the notes on what the draft model computed
FEATURE_COPIES = 4  # of those of a step: as the model leaves them, normed, of each sequence, for a pass
OUTPUT_BYTES = 4  # of a matrix, for each output, that the kernels keep from call to call


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftingMemory:
    """Bytes; `arena_blocks` as of PlannedMemory."""

    fixed_bytes: int = 0  # weights, tables, recorded passes: whatever the number of blocks
    step_bytes: int = 0  # results of ops that live at once in the largest pass
    kv_token_bytes: int = 0  # of a cache of its own
    num_kv_layers: int = 0
    note_bytes: int = 0  # for each block
    arena_blocks: tuple[int, ...] = ()


NO_DRAFTING = DraftingMemory()


def self_drafting_memory(num_layers: int, recorded: bool) -> DraftingMemory:
    """Passes of some layers of the model itself, in the memory that the model's own steps use."""
    return DraftingMemory(fixed_bytes=recorded_bytes(num_layers, MAX_GRAPHS) if recorded else 0)


def heads_memory(num_bytes: int, hidden_size: int, max_rows: int) -> DraftingMemory:
    """Heads of so many bytes, and the hidden states of a step."""
    return DraftingMemory(fixed_bytes=num_bytes + 4 * hidden_size * max_rows)


def eagle_memory(
    config: EngineConfig, runtime: RuntimeConfig, spec: ModelSpec, sizes: Sizes, context: int, max_rows: int
) -> DraftingMemory:
    """A layer, its cache, the features that sequences keep, and all arrays of the largest pass."""
    chunk = min(config.chunked_prefill or context, context)
    kept = config.max_batch * (MOST_KEPT * config.block_size + MAX_SPECULATIVE_TOKENS)
    row = 8 * spec.hidden_size + spec.qkv_size + spec.query_size + 3 * spec.intermediate_size
    rotary = table_bytes(spec.layers[0].rope, min(context, spec.max_context))
    return DraftingMemory(
        fixed_bytes=sizes.num_bytes
        + OUTPUT_BYTES * sizes.num_outputs
        + rotary
        + 4 * spec.hidden_size * (kept + FEATURE_COPIES * chunk),
        step_bytes=4 * (chunk * row + max_rows * spec.vocab_size),
        kv_token_bytes=block_bytes(1, 1, spec.num_kv_heads, spec.head_dim, runtime.kv_format),
        num_kv_layers=1,
        note_bytes=KEY_BYTES,
    )


def draft_model_memory(
    config: EngineConfig,
    runtime: RuntimeConfig,
    sized: tuple[Decoder, Sizes],
    kind: Kind,
    context: int,
    max_rows: int,
    recorded: bool,
) -> DraftingMemory:
    """A model of its own, with passes of at most `max_rows` and chunks of prompts."""
    decoder, sizes = sized
    spec = decoder.spec
    blocks = arena_blocks(decoder, kind, max_rows) if recorded else []
    graphs = recorded_bytes(spec.num_layers, MAX_GRAPHS) if recorded else 0
    rotary = sum(table_bytes(rope, min(context, spec.max_context)) for rope in spec.ropes)
    chunk = min(config.chunked_prefill or context, context)
    token_bytes = block_bytes(spec.num_kv_layers, 1, spec.num_kv_heads, spec.head_dim, runtime.kv_format)
    return DraftingMemory(
        fixed_bytes=sizes.num_bytes + OUTPUT_BYTES * sizes.num_outputs + rotary + graphs + sum(blocks),
        step_bytes=step_bytes(decoder, kind, chunk, min(max_rows, chunk)),
        kv_token_bytes=token_bytes,
        num_kv_layers=spec.num_kv_layers,
        note_bytes=KEY_BYTES,
        arena_blocks=tuple(blocks),
    )
