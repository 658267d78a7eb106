"""The table of `redline bench ops`: which ops are called at which shapes, and what they move and multiply.

A trial is one call at one shape. To add an op, write a function that yields its trials and name it in TRIALS;
to add a weight format, a line in GGUF_BLOCKS.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from redline.cache.paged import PagedKV
from redline.models.spec import ModelSpec
from redline.ops.kv_store.layout import formats_for
from redline.quant.base import Weight
from redline.quant.gguf import weight_from_gguf

ROTATED_BYTES = 64 << 20  # copies of weights and caches are made until they take as much, or one per layer
BLOCK_SIZE = 16
CONTEXTS = (512, 4096)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One call of an op."""

    op: str
    shape: str
    rows: int
    call: Callable[[], object]
    bytes: int  # read and written by one call
    working_set: int  # bytes that calls go through before they come back to the first
    macs: int = 0
    kind: str = "f32"  # of the multiply-adds: "int8", "float" or "f32"


# GGUF type: (number, weights and bytes of a block, where its half-precision scales are)
GGUF_BLOCKS: dict[str, tuple[int, int, int, tuple[int, ...]]] = {
    "F32": (0, 1, 4, ()),
    "F16": (1, 1, 2, (0,)),
    "BF16": (30, 1, 2, ()),
    "Q4_0": (2, 32, 18, (0,)),
    "Q4_1": (3, 32, 20, (0, 2)),
    "Q5_0": (6, 32, 22, (0,)),
    "Q5_1": (7, 32, 24, (0, 2)),
    "Q8_0": (8, 32, 34, (0,)),
    "Q2_K": (10, 256, 84, (80, 82)),
    "Q3_K": (11, 256, 110, (108,)),
    "Q4_K": (12, 256, 144, (0, 2)),
    "Q5_K": (13, 256, 176, (0, 2)),
    "Q6_K": (14, 256, 210, (208,)),
    "IQ4_NL": (20, 32, 18, (0,)),
}
FLOATS = {"f32": "f32", "f16": "f32", "bf16": "float"}  # stored format -> kind of multiply-adds


def matmul(spec: ModelSpec, ops: Any, rows: Sequence[int], formats: Sequence[str]) -> Iterator[Trial]:
    """The matrices of a layer and the one that makes logits, in each format as a file would bring it."""
    attention = spec.num_heads * spec.head_dim
    matrices = {
        "qkv": (spec.qkv_size, spec.hidden_size),
        "attention output": (spec.hidden_size, attention),
        "gate and up": (2 * spec.intermediate_size, spec.hidden_size),
        "down": (spec.hidden_size, spec.intermediate_size),
        "logits": (spec.vocab_size, spec.hidden_size),
    }
    for format, (name, shape) in itertools.product(formats, matrices.items()):
        if shape[1] % GGUF_BLOCKS[format][1]:
            continue  # no file has this format at this shape
        weights = rotated(partial(random_weight, format, shape), spec)
        if name == "qkv":  # as the decoder asks for it
            weights = [weight.with_precise_activations() for weight in weights]
        for count in rows:
            yield _matmul(ops, f"matmul {format}", name, weights, count)


def _matmul(ops: Any, op: str, name: str, weights: list[Weight], rows: int) -> Trial:
    first = weights[0]
    x_TK = random_floats(rows, first.num_inputs)
    turn = itertools.cycle(weights)
    return Trial(
        op=op,
        shape=f"{name} {first.num_outputs} x {first.num_inputs}",
        rows=rows,
        call=lambda: next(turn).matmul(ops, x_TK),
        bytes=first.nbytes + 4 * rows * (first.num_inputs + first.num_outputs),
        working_set=sum(weight.nbytes for weight in weights),
        macs=rows * first.num_outputs * first.num_inputs,
        kind=FLOATS.get(first.format, "int8"),
    )


def attention_decode(
    spec: ModelSpec, ops: Any, rows: Sequence[int], formats: Sequence[str]
) -> Iterator[Trial]:
    """One query of each of `rows` sequences."""
    for kv_format, context, count in itertools.product(formats_for(spec.head_dim), CONTEXTS, rows):
        if count * context <= 32 * CONTEXTS[-1]:
            yield _attention(spec, ops, "attention decode", kv_format, [1] * count, context)


def attention_prefill(
    spec: ModelSpec, ops: Any, rows: Sequence[int], formats: Sequence[str]
) -> Iterator[Trial]:
    """`rows` queries at the end of one sequence."""
    for kv_format, context, count in itertools.product(formats_for(spec.head_dim), CONTEXTS, rows):
        if 32 < count <= context:
            yield _attention(spec, ops, "attention prefill", kv_format, [count], context)


def _attention(spec: ModelSpec, ops: Any, op: str, kv_format: str, queries: list[int], context: int) -> Trial:
    blocks, rows = -(-context // BLOCK_SIZE), sum(queries)
    num_blocks = blocks * len(queries)
    layer_bytes = PagedKV([0], [num_blocks], BLOCK_SIZE, spec.num_kv_heads, spec.head_dim, kv_format).nbytes
    copies = num_copies(layer_bytes, spec)
    kv = PagedKV([0] * copies, [num_blocks], BLOCK_SIZE, spec.num_kv_heads, spec.head_dim, kv_format)
    tokens = num_blocks * BLOCK_SIZE
    k_THD = random_floats(tokens, spec.num_kv_heads * spec.head_dim)
    k_THD = k_THD.reshape(tokens, spec.num_kv_heads, spec.head_dim)
    for k_cache, v_cache in zip(kv.k, kv.v, strict=True):
        ops.kv_store(k_THD, k_THD, k_cache, v_cache, np.arange(tokens, dtype=np.int32))
    q_THD = random_floats(rows, spec.num_heads * spec.head_dim).reshape(rows, spec.num_heads, spec.head_dim)
    tables_SB = (
        np.random.default_rng(0).permutation(num_blocks).astype(np.int32).reshape(len(queries), blocks)
    )
    starts_S1 = np.cumsum([0, *queries]).astype(np.int32)
    contexts_S = np.full(len(queries), context, np.int32)
    turn = itertools.cycle(range(copies))

    def call() -> object:
        layer = next(turn)
        operands = (q_THD, kv.k[layer], kv.v[layer], tables_SB, starts_S1, contexts_S)
        return ops.attention(*operands, spec.attention_scale, 0, spec.attention_soft_cap)

    attended = sum(count * context - count * (count - 1) // 2 for count in queries)
    return Trial(
        op=f"{op} {kv_format}",
        shape=f"context {context}",
        rows=rows,
        call=call,
        bytes=layer_bytes + 2 * q_THD.nbytes,
        working_set=copies * layer_bytes,
        macs=2 * attended * spec.num_heads * spec.head_dim,
        kind="float",
    )


def norms(spec: ModelSpec, ops: Any, rows: Sequence[int], formats: Sequence[str]) -> Iterator[Trial]:
    weight_D = np.ones(spec.hidden_size, np.float32)
    for count in rows:
        x_TD = random_floats(count, spec.hidden_size)
        norm = partial(ops.rmsnorm, x_TD, weight_D, spec.norm_eps)
        yield _elementwise("rmsnorm", norm, x_TD, 2)


def rotary(spec: ModelSpec, ops: Any, rows: Sequence[int], formats: Sequence[str]) -> Iterator[Trial]:
    heads, rope = spec.num_heads + spec.num_kv_heads, spec.layers[0].rope
    cos_PR = np.ones((max(rows), rope.rotary_dim // 2), np.float32)
    sin_PR = np.zeros_like(cos_PR)
    for count in rows:
        x_THD = random_floats(count, heads * spec.head_dim).reshape(count, heads, spec.head_dim)
        positions_T = np.arange(count, dtype=np.int32)
        call = partial(ops.rope, x_THD, cos_PR, sin_PR, positions_T, rope.interleaved)
        yield _elementwise("rope", call, x_THD, 2)


def kv_store(spec: ModelSpec, ops: Any, rows: Sequence[int], formats: Sequence[str]) -> Iterator[Trial]:
    for kv_format, count in itertools.product(formats_for(spec.head_dim), rows):
        blocks = -(-count // BLOCK_SIZE)
        kv = PagedKV([0], [blocks], BLOCK_SIZE, spec.num_kv_heads, spec.head_dim, kv_format)
        k_THD = random_floats(count, spec.num_kv_heads * spec.head_dim)
        k_THD = k_THD.reshape(count, spec.num_kv_heads, spec.head_dim)
        slots_T = np.arange(count, dtype=np.int32)
        yield Trial(
            op=f"kv_store {kv_format}",
            shape=f"{spec.num_kv_heads} heads of {spec.head_dim}",
            rows=count,
            call=partial(ops.kv_store, k_THD, k_THD, kv.k[0], kv.v[0], slots_T),
            bytes=2 * k_THD.nbytes + kv.nbytes * count // (blocks * BLOCK_SIZE),
            working_set=2 * k_THD.nbytes + kv.nbytes,
        )


def gating(spec: ModelSpec, ops: Any, rows: Sequence[int], formats: Sequence[str]) -> Iterator[Trial]:
    for count in rows:
        x_TF = random_floats(count, 2 * spec.intermediate_size)
        if spec.activation == "silu":
            yield _elementwise("silu_mul", partial(ops.silu_mul, x_TF), x_TF, 1.5)
        else:
            call = partial(ops.gelu_mul, x_TF, spec.activation == "gelu_tanh")
            yield _elementwise("gelu_mul", call, x_TF, 1.5)


def embedding(spec: ModelSpec, ops: Any, rows: Sequence[int], formats: Sequence[str]) -> Iterator[Trial]:
    for format in formats:
        if spec.hidden_size % GGUF_BLOCKS[format][1]:
            continue
        weight = random_weight(format, (spec.vocab_size, spec.hidden_size))
        for count in rows:
            ids_T = np.random.default_rng(0).integers(0, spec.vocab_size, count, dtype=np.int32)
            yield Trial(
                op=f"embedding {format}",
                shape=f"{spec.vocab_size} x {spec.hidden_size}",
                rows=count,
                call=partial(weight.embedding, ops, ids_T),
                bytes=count * (weight.nbytes // spec.vocab_size + 4 * spec.hidden_size),
                working_set=count * (weight.nbytes // spec.vocab_size + 4 * spec.hidden_size),
            )


def sampling(spec: ModelSpec, ops: Any, rows: Sequence[int], formats: Sequence[str]) -> Iterator[Trial]:
    """Of the rows that one step may sample; a prefill samples one."""
    for count in (each for each in rows if each <= 64):
        logits_RV = random_floats(count, spec.vocab_size)
        ones_R = np.ones(count, np.float32)
        top_k_R, ids_R = np.full(count, 50, np.int32), np.zeros(count, np.int32)
        draws_R = np.linspace(0.1, 0.9, count)
        sample = partial(ops.sample, logits_RV, ones_R, top_k_R, 0.9 * ones_R, 0 * ones_R, draws_R)
        yield _elementwise("argmax", partial(ops.argmax, logits_RV), logits_RV, 1)
        yield _elementwise("sample", sample, logits_RV, 1)
        yield _elementwise("top_logprobs", partial(ops.top_logprobs, logits_RV, 5, ids_R), logits_RV, 1)


TRIALS = (
    matmul,
    attention_decode,
    attention_prefill,
    norms,
    rotary,
    kv_store,
    gating,
    embedding,
    sampling,
)


def _elementwise(op: str, call: Callable[[], object], x: Any, passes: float) -> Trial:
    """An op that waits for memory alone; `passes`: how often it reads or writes as much as x."""
    moved = int(passes * x.nbytes)
    shape = " x ".join(str(size) for size in x.shape[1:])
    return Trial(op=op, shape=shape, rows=len(x), call=call, bytes=moved, working_set=moved)


def rotated(make: Callable[[], Weight], spec: ModelSpec) -> list[Weight]:
    """Copies of a matrix, as many as the layers of a model, or as fill ROTATED_BYTES."""
    first = make()
    return [first, *(make() for _ in range(num_copies(first.nbytes, spec) - 1))]


def num_copies(nbytes: int, spec: ModelSpec) -> int:
    return max(1, min(spec.num_layers, ROTATED_BYTES // nbytes))


def random_weight(format: str, shape: tuple[int, int]) -> Weight:
    """A matrix as it comes from a file of this format: random codes, and scales that are ordinary numbers."""
    number, weights, num_bytes, halves = GGUF_BLOCKS[format]
    count = shape[0] * shape[1] // weights
    if format in ("F32", "BF16"):
        values = random_floats(1, count)[0].view(np.uint32)
        raw = values.view(np.uint8) if format == "F32" else (values >> 16).astype(np.uint16).view(np.uint8)
        return weight_from_gguf(raw, number, shape)
    blocks = np.random.default_rng(0).integers(0, 256, (count, num_bytes), dtype=np.uint8)
    for at in halves:
        blocks[:, at : at + 2] = np.array([0.01], np.float16).view(np.uint8)
    return weight_from_gguf(blocks.reshape(-1), number, shape)


def random_floats(rows: int, columns: int) -> Any:
    """float32 [rows, columns], the same each time."""
    return np.random.default_rng(0).standard_normal((rows, columns), dtype=np.float32)
