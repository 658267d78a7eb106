"""rope_attention has the bits of rope, kv_store and attention, and leaves the cache that they leave."""

from dataclasses import dataclass

import numpy as np
import pytest

from redline.errors import KernelError
from redline.ops.registry import backend
from redline.ops.rope_attention.composed import composed
from tests.ops.backends import KERNELS
from tests.ops.kv_caches import random_caches

POSITIONS = 700


@dataclass
class Call:
    """`counts` new tokens of sequences that are `contexts` long with them."""

    rng: np.random.Generator
    counts: tuple[int, ...] = (1, 1, 1)
    contexts: tuple[int, ...] = (160, 5, 600)
    kv_format: str = "f16"
    block_size: int = 16
    heads: int = 6
    kv_heads: int = 2
    dim: int = 64
    rotary_dim: int = 64
    interleaved: bool = False
    window: int = 0

    def __post_init__(self):
        rng, tokens = self.rng, sum(self.counts)
        width = -(-max(self.contexts) // self.block_size)
        num_blocks = width * len(self.contexts)
        self.caches = random_caches(rng, self.kv_format, num_blocks, self.kv_heads, self.block_size, self.dim)
        self.tables = rng.permutation(num_blocks).astype(np.int32).reshape(-1, width)
        qkv = rng.standard_normal((tokens, self.heads + 2 * self.kv_heads, self.dim)).astype(np.float32)
        self.q, self.k, self.v = np.split(qkv, [self.heads, self.heads + self.kv_heads], axis=1)
        angles = rng.uniform(0, 6, (POSITIONS, self.rotary_dim // 2))
        self.cos, self.sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
        pairs = list(zip(self.counts, self.contexts, strict=True))
        self.positions = np.concatenate([np.arange(end - n, end) for n, end in pairs]).astype(np.int32)
        rows = np.repeat(np.arange(len(pairs)), self.counts)
        blocks = self.tables[rows, self.positions // self.block_size]
        self.slots = (blocks * self.block_size + self.positions % self.block_size).astype(np.int32)
        self.starts = np.cumsum([0, *self.counts]).astype(np.int32)
        self.lens = np.array(self.contexts, np.int32)

    def run(self, op):
        """The output and the caches that the op leaves; each call starts from the same ones."""
        k_cache, v_cache = (cache.copy() for cache in self.caches)
        rotation = (self.cos, self.sin, self.positions, self.interleaved)
        attended = (self.tables, self.starts, self.lens, self.dim**-0.5, self.window, 0.0)
        out = op(self.q, self.k, self.v, *rotation, self.slots, k_cache, v_cache, *attended)
        return out, k_cache, v_cache


CASES = {
    "decodes": {},
    "decodes-f32": {"kv_format": "f32"},
    "decodes-int8": {"kv_format": "int8"},
    "one-long-decode": {"counts": (1,), "contexts": (700,)},
    "one-long-decode-int8": {"counts": (1,), "contexts": (577,), "kv_format": "int8"},
    "first-of-a-tile": {"counts": (1, 1), "contexts": (65, 257)},
    "copied-tiles": {"block_size": 12},
    "copied-tiles-int8": {"block_size": 12, "kv_format": "int8"},
    "odd-dim-int8": {"dim": 37, "rotary_dim": 36, "kv_format": "int8"},
    "odd-dim": {"dim": 37, "rotary_dim": 36},
    "window": {"window": 100, "contexts": (160, 90, 600)},
    "partial-interleaved": {"rotary_dim": 24, "interleaved": True},
    "prefill": {"counts": (150,), "contexts": (150,)},
    "chunk-and-decodes": {"counts": (1, 70, 1), "contexts": (300, 333, 40)},
    "decodes-bf16": {"kv_format": "bf16"},
    "decodes-fp8": {"kv_format": "fp8"},
    "decodes-int4": {"kv_format": "int4"},
    "one-long-decode-int4": {"counts": (1,), "contexts": (577,), "kv_format": "int4"},
    "copied-tiles-int4": {"block_size": 12, "kv_format": "int4"},
    "chunk-and-decodes-int4": {"counts": (1, 70, 1), "contexts": (300, 333, 40), "kv_format": "int4"},
    "prefill-fp8": {"counts": (90, 3), "contexts": (90, 33), "kv_format": "fp8"},
    "prefill-int8": {"counts": (90, 3), "contexts": (90, 33), "kv_format": "int8"},
}


@pytest.mark.parametrize("ops", KERNELS)
@pytest.mark.parametrize("case", CASES)
def test_has_the_bits_of_the_separate_ops(ops, case, rng):
    call = Call(rng, **CASES[case])
    got = call.run(ops.rope_attention)
    wanted = call.run(composed(ops.rope, ops.kv_store, ops.attention))
    for array, expected in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(array.view(np.uint8), expected.view(np.uint8))


@pytest.mark.parametrize("ops", KERNELS)
@pytest.mark.parametrize("contexts", [(160, 5, 600), (700,)])
def test_a_row_that_stores_nothing_reads_what_is_there(ops, contexts, rng):
    call = Call(rng, counts=(1,) * len(contexts), contexts=contexts)
    call.slots[:] = -1
    got = call.run(ops.rope_attention)
    wanted = call.run(composed(ops.rope, ops.kv_store, ops.attention))
    np.testing.assert_array_equal(got[0], wanted[0])
    np.testing.assert_array_equal(got[1], call.caches[0])


def test_the_reference_means_the_same(rng):
    for counts in ((1, 1, 1), (7, 1, 20)):
        call = Call(rng, counts=counts)
        got = call.run(backend("cpu").rope_attention)
        wanted = call.run(backend("reference").rope_attention)
        np.testing.assert_allclose(got[0], wanted[0], atol=2e-5)


@pytest.mark.parametrize(
    "operand, message", [("positions", "position 9999"), ("slots", "slot 99999"), ("tables", "sequence 1")]
)
def test_names_what_is_out_of_bounds(operand, message, rng):
    call = Call(rng)
    getattr(call, operand)[1] = 99999 if operand == "slots" else 9999
    with pytest.raises(KernelError, match=message):
        call.run(backend("cpu").rope_attention)
