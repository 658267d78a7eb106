from dataclasses import dataclass, replace

import numpy as np
import pytest

from redline import _kernels
from redline.errors import KernelError
from redline.ops.attention.reference import attention as reference
from tests.ops.backends import BACKENDS, KERNELS, OnISA
from tests.ops.kv_caches import SCALED, random_caches, spoil_scale
from tests.ops.properties import strided


@dataclass(frozen=True)
class Case:
    """Sequences of given lengths, each with every position as a query."""

    contexts: tuple[int, ...] = (333,)
    heads: int = 9
    kv_heads: int = 3
    dim: int = 64
    block_size: int = 16
    kv_format: str = "f16"
    window: int = 0
    soft_cap: float = 0.0


@dataclass(frozen=True)
class Data:
    case: Case
    q: tuple[np.ndarray, ...]  # per sequence [context, H, D]
    k_cache: np.ndarray
    v_cache: np.ndarray
    tables: np.ndarray

    def attend(self, ops, rows):
        """The outputs of query rows begin:end of each sequence, in one call."""
        counts = [end - begin for begin, end in rows]
        q = np.concatenate([q[begin:end] for q, (begin, end) in zip(self.q, rows, strict=True)])
        starts = np.cumsum([0, *counts]).astype(np.int32)
        lens = np.array([end for _, end in rows], np.int32)
        out = self.call(ops.attention, q, starts, lens)
        return [out[starts[s] : starts[s + 1]] for s in range(len(rows))]

    def call(self, attention, q, starts, lens):
        case = self.case
        caches = (self.k_cache, self.v_cache, self.tables)
        return attention(q, *caches, starts, lens, case.dim**-0.5, case.window, case.soft_cap)

    def prefill(self, ops):
        return self.attend(ops, [(0, context) for context in self.case.contexts])


def make(case, rng):
    per_sequence = -(-max(case.contexts) // case.block_size)
    num_blocks = per_sequence * len(case.contexts) + 2
    k_cache, v_cache = random_caches(
        rng, case.kv_format, num_blocks, case.kv_heads, case.block_size, case.dim
    )
    tables = rng.permutation(num_blocks)[: num_blocks - 2].reshape(len(case.contexts), per_sequence)
    q = [rng.standard_normal((n, case.heads, case.dim)).astype(np.float32) * 2 for n in case.contexts]
    return Data(case, tuple(q), k_cache, v_cache, tables.astype(np.int32))


CASES = {
    "gqa3": Case(),
    "gqa4-f32": Case(heads=8, kv_heads=2, dim=32, kv_format="f32"),
    "mqa9": Case(heads=9, kv_heads=1, dim=48, kv_format="f32"),
    "mha": Case(heads=2, kv_heads=2, dim=128),
    "odd-dim": Case(contexts=(70, 5), heads=4, kv_heads=2, dim=37),
    "dim-1": Case(contexts=(70,), heads=2, kv_heads=1, dim=1, kv_format="f32"),
    "dim-256": Case(contexts=(90,), heads=2, kv_heads=1, dim=256),
    "many-heads": Case(contexts=(70,), heads=60, kv_heads=1, dim=16),
    "window": Case(contexts=(500,), window=100, dim=16),
    "window-1": Case(contexts=(130,), window=1, dim=16),
    "window-long": Case(contexts=(130,), window=1000, dim=16),
    "soft-cap": Case(soft_cap=2.0, dim=16, kv_format="f32"),
    "window-and-cap": Case(contexts=(300, 200), window=64, soft_cap=5.0, dim=24),
    "batch": Case(contexts=(1, 300, 64, 65, 257), dim=16),
    "gqa8": Case(contexts=(150,), heads=16, kv_heads=2, dim=128, block_size=64),
    "gqa4-80": Case(contexts=(150, 9), heads=8, kv_heads=2, dim=80),
    "mha-96": Case(contexts=(140,), heads=2, kv_heads=2, dim=96, block_size=64),
    "mqa-256-f32": Case(contexts=(70,), heads=8, kv_heads=1, dim=256, kv_format="f32"),
    "int8": Case(contexts=(333, 20), kv_format="int8"),
    "int8-gqa8": Case(contexts=(150,), heads=8, kv_heads=1, dim=128, kv_format="int8", block_size=64),
    "int8-odd": Case(contexts=(150, 20), heads=4, kv_heads=2, dim=37, kv_format="int8", block_size=7),
    "int8-odd-dim": Case(contexts=(150, 20), heads=4, kv_heads=2, dim=38, kv_format="int8"),
    "int8-block-12": Case(contexts=(150, 20), heads=4, kv_heads=2, dim=40, kv_format="int8", block_size=12),
    "int8-block-32": Case(contexts=(150, 20), heads=4, kv_heads=2, dim=20, kv_format="int8", block_size=32),
    "int8-window": Case(contexts=(300,), window=33, dim=64, kv_format="int8"),
    "int8-window-and-cap": Case(contexts=(300,), window=70, soft_cap=5.0, dim=80, kv_format="int8"),
    "bf16": Case(contexts=(333, 20), kv_format="bf16"),
    "bf16-odd": Case(contexts=(70, 5), heads=4, kv_heads=2, dim=37, kv_format="bf16", block_size=7),
    "fp8": Case(contexts=(333, 20), kv_format="fp8"),
    "fp8-gqa8": Case(contexts=(150,), heads=8, kv_heads=1, dim=128, kv_format="fp8", block_size=64),
    "fp8-odd": Case(contexts=(150, 20), heads=4, kv_heads=2, dim=37, kv_format="fp8", block_size=7),
    "fp8-window-and-cap": Case(contexts=(300,), window=70, soft_cap=5.0, dim=80, kv_format="fp8"),
    "int4": Case(contexts=(333, 20), kv_format="int4"),
    "int4-gqa8": Case(contexts=(150,), heads=8, kv_heads=1, dim=128, kv_format="int4", block_size=64),
    "int4-block-7": Case(contexts=(150, 20), heads=4, kv_heads=2, dim=32, kv_format="int4", block_size=7),
    "int4-window-and-cap": Case(contexts=(300,), window=70, soft_cap=5.0, dim=96, kv_format="int4"),
    "block-1": Case(contexts=(100,), block_size=1, dim=8),
    "block-7": Case(contexts=(300, 20), block_size=7, dim=8),
    "block-256": Case(contexts=(600, 20), block_size=256, dim=8),
}
KERNELS_OF = {param.values[0].isa: param.values[0] for param in KERNELS if not param.marks}
EVERY_CASE = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@pytest.fixture
def restore_threads():
    before = _kernels.num_threads()
    yield
    _kernels.set_num_threads(before)


def float64(data):
    q = np.concatenate(data.q).astype(np.float64)
    starts = np.cumsum([0, *data.case.contexts]).astype(np.int32)
    return data.call(reference, q, starts, np.array(data.case.contexts, np.int32))


@pytest.mark.parametrize("ops", BACKENDS)
@EVERY_CASE
def test_equals_float64(ops, case, rng):
    data = make(case, rng)
    # Queries and weights that meet int8 have 16 bits, those that meet the others 24.
    rtol, atol = (0, 5e-4) if case.kv_format == "int8" and isinstance(ops, OnISA) else (1e-5, 3e-6)
    np.testing.assert_allclose(np.concatenate(data.prefill(ops)), float64(data), rtol=rtol, atol=atol)


def dense_rows(data):
    """Attention written a second time, with one score matrix and a mask: a check of the reference."""
    case, q = data.case, data.q[0].astype(np.float64)
    position = np.arange(len(q))
    slots = (data.tables[0][position // case.block_size], position % case.block_size)
    keys = data.k_cache[slots[0], :, :, slots[1]].astype(np.float64)
    values = data.v_cache[slots[0], :, slots[1]].astype(np.float64)
    keys, values = (np.repeat(x, case.heads // case.kv_heads, axis=1) for x in (keys, values))
    scores = np.einsum("ihd,jhd->hij", q, keys) * case.dim**-0.5
    if case.soft_cap:
        scores = case.soft_cap * np.tanh(scores / case.soft_cap)
    distance = position[:, None] - position
    hidden = (distance < 0) | (distance >= (case.window or len(q)))
    scores[:, hidden] = -np.inf
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("hij,jhd->ihd", weights / weights.sum(-1, keepdims=True), values)


@pytest.mark.parametrize("name", ["gqa3", "window", "window-and-cap", "odd-dim", "block-7"])
def test_reference_equals_a_masked_softmax(name, rng):
    data = make(CASES[name], rng)
    np.testing.assert_allclose(float64(data)[: len(data.q[0])], dense_rows(data), rtol=1e-9, atol=1e-12)


def chunks(context, size):
    return [(begin, min(begin + size, context)) for begin in range(0, context, size)]


@pytest.mark.parametrize("ops", KERNELS)
@pytest.mark.parametrize("size", [1, 3, 16, 100])
@EVERY_CASE
def test_chunks_and_decodes_equal_the_prefill(ops, case, size, rng):
    data = make(case, rng)
    for s, whole in enumerate(data.prefill(ops)):
        for begin, end in chunks(case.contexts[s], size):
            rows = [(0, 0)] * len(case.contexts)
            rows[s] = (begin, end)
            np.testing.assert_array_equal(data.attend(ops, rows)[s], whole[begin:end])


@pytest.mark.parametrize("ops", KERNELS)
def test_sequence_of_a_batch_of_64_equals_the_sequence_alone(ops, rng):
    contexts = tuple(int(n) for n in rng.integers(1, 400, 64))
    data = make(Case(contexts=contexts, dim=16), rng)
    last = [(n - 1 if s % 4 else max(0, n - 40), n) for s, n in enumerate(contexts)]
    for s, together in enumerate(data.attend(ops, last)):
        alone = replace(data, q=data.q[s : s + 1], tables=data.tables[s : s + 1]).attend(ops, [last[s]])
        np.testing.assert_array_equal(alone[0], together)


@pytest.mark.parametrize("ops", KERNELS)
@pytest.mark.parametrize("name", ["gqa3", "window", "batch", "odd-dim", "int4"])
def test_threads_do_not_change_the_bits(ops, name, rng, restore_threads):
    data = make(CASES[name], rng)
    decode = [(n - 1, n) for n in data.case.contexts]
    results = []
    for threads in (1, 2, 3):
        _kernels.set_num_threads(threads)
        results.append(np.concatenate(data.prefill(ops) + data.attend(ops, decode)))
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


@pytest.mark.parametrize("ops", KERNELS)
@pytest.mark.parametrize("block_size", [1, 5, 16, 64])
def test_place_of_the_blocks_does_not_change_the_bits(ops, block_size, rng):
    case = Case(contexts=(300,), dim=16, block_size=block_size)
    data = make(case, rng)
    order = rng.permutation(len(data.k_cache))
    where = np.argsort(order).astype(np.int32)
    moved = replace(data, k_cache=data.k_cache[order], v_cache=data.v_cache[order], tables=where[data.tables])
    np.testing.assert_array_equal(moved.prefill(ops)[0], data.prefill(ops)[0])


@pytest.mark.parametrize("ops", KERNELS)
def test_block_size_does_not_change_the_bits(ops, rng):
    small = make(Case(contexts=(320,), dim=16, block_size=16), rng)
    pairs = small.tables[0].reshape(-1, 2)

    def joined(cache, axis):
        return np.ascontiguousarray(np.concatenate([cache[pairs[:, 0]], cache[pairs[:, 1]]], axis))

    large = replace(
        small,
        k_cache=joined(small.k_cache, 3),
        v_cache=joined(small.v_cache, 2),
        tables=np.arange(len(pairs), dtype=np.int32)[None],
    )
    np.testing.assert_array_equal(large.prefill(ops)[0], small.prefill(ops)[0])


@pytest.mark.parametrize("ops", KERNELS)
@pytest.mark.parametrize("window", [0, 50])
def test_what_a_row_may_not_see_does_not_reach_it(ops, window, rng):
    """Unused slots, other blocks and (for whole tiles) the future may hold anything, NaN included."""
    data = make(Case(contexts=(300,), dim=24, window=window), rng)
    wanted = data.attend(ops, [(200, 210)])[0]
    position = np.arange(data.tables.size * 16)
    hidden = position >= 210
    if window:
        hidden |= position <= 200 - window
    spoiled = replace(data, k_cache=data.k_cache.copy(), v_cache=data.v_cache.copy())
    for cache in (spoiled.k_cache.swapaxes(2, 3), spoiled.v_cache):
        cache[data.tables[0][position[hidden] // 16], :, position[hidden] % 16] = np.nan
        cache[np.setdiff1d(np.arange(len(cache)), data.tables)] = np.nan
    np.testing.assert_array_equal(spoiled.attend(ops, [(200, 210)])[0], wanted)


@pytest.mark.parametrize("ops", KERNELS)
@pytest.mark.parametrize(
    "name",
    [
        "gqa3",
        "gqa4-f32",
        "window",
        "odd-dim",
        "int8",
        "bf16",
        "fp8",
        "int4",
        "int4-block-7",
        "block-7",
        "gqa4-80",
    ],
)
@pytest.mark.parametrize("kind", ["keys", "values"])
def test_nan_in_the_cache_reaches_those_who_see_it_and_nobody_else(ops, name, kind, rng):
    """Tiles hold keys that some of their rows may not see; NaN times a weight of zero would be NaN."""
    case = CASES[name]
    data = make(case, rng)
    clean = data.prefill(ops)[0]
    position = 40
    block, offset = data.tables[0][position // case.block_size], position % case.block_size
    if case.kv_format in SCALED:
        spoil_scale(data.k_cache if kind == "keys" else data.v_cache, case.kv_format, block, offset, case.dim)
    elif kind == "keys":
        data.k_cache[block, :, :, offset] = np.nan
    else:
        data.v_cache[block, :, offset] = np.nan
    spoiled = data.prefill(ops)[0]
    see = np.zeros(case.contexts[0], bool)
    see[position : position + (case.window or case.contexts[0])] = True
    assert np.isnan(spoiled[see]).all()
    np.testing.assert_array_equal(spoiled[~see], clean[~see])


@pytest.mark.parametrize("ops", KERNELS)
def test_an_infinite_value_of_a_float_cache_reaches_nobody_else(ops, rng):
    data = make(CASES["gqa4-f32"], rng)
    clean = data.prefill(ops)[0]
    data.v_cache[data.tables[0][2], :, 8] = np.inf  # position 40
    spoiled = data.prefill(ops)[0]
    np.testing.assert_array_equal(spoiled[:40], clean[:40])
    assert (spoiled[40:] == np.inf).all()


@pytest.mark.parametrize("ops", KERNELS)
@pytest.mark.parametrize("name", ["gqa3", "int8", "fp8", "int4"])
def test_chunks_of_many_sequences_and_decodes_in_one_call_equal_the_prefill(ops, name, rng):
    data = make(replace(CASES[name], contexts=(333, 20, 130, 300)), rng)
    whole = data.prefill(ops)
    rows = [(332, 333), (0, 20), (99, 130), (298, 300)]
    for s, got in enumerate(data.attend(ops, rows)):
        np.testing.assert_array_equal(got, whole[s][rows[s][0] : rows[s][1]])


@pytest.mark.parametrize("ops", KERNELS)
def test_a_long_decode_shared_by_threads_equals_one_thread(ops, rng, restore_threads):
    """Long enough that the keys of one sequence are cut, next to one that is not."""
    data = make(Case(contexts=(3000, 40), dim=16), rng)
    rows = [(2990, 3000), (39, 40)]
    _kernels.set_num_threads(1)
    alone = data.attend(ops, rows)
    for threads in (2, 5):
        _kernels.set_num_threads(threads)
        for got, wanted in zip(data.attend(ops, rows), alone, strict=True):
            np.testing.assert_array_equal(got, wanted)


@pytest.mark.skipif(len(KERNELS_OF) < 3, reason="needs AVX-512")
def test_avx512_has_the_bits_of_avx2(rng):
    for name in (
        "gqa3",
        "gqa4-f32",
        "int8-gqa8",
        "int8-odd",
        "int8-window-and-cap",
        "odd-dim",
        "soft-cap",
        "dim-256",
        "bf16",
        "fp8",
        "int4-gqa8",
    ):
        data = make(CASES[name], rng)
        np.testing.assert_array_equal(
            np.concatenate(data.prefill(KERNELS_OF["avx512"])),
            np.concatenate(data.prefill(KERNELS_OF["avx2"])),
        )


@pytest.mark.parametrize("ops", KERNELS)
@pytest.mark.parametrize("kv_format, bad", [("f16", np.nan), ("int8", np.nan), ("int8", np.inf)])
def test_nan_in_a_query_stays_in_its_row_and_head(ops, kv_format, bad, rng):
    data = make(Case(contexts=(100,), dim=16, kv_format=kv_format), rng)
    clean = data.prefill(ops)[0]
    data.q[0][40, 4, 3] = bad
    spoiled = data.prefill(ops)[0]
    assert np.isnan(spoiled[40, 4]).all()
    spoiled[40, 4] = clean[40, 4]
    np.testing.assert_array_equal(spoiled, clean)


@pytest.mark.parametrize("ops", KERNELS)
def test_large_scores_neither_overflow_nor_vanish(ops, rng):
    data = make(Case(contexts=(300,), dim=16, kv_format="f32"), rng)
    data.q[0][:] *= 1000
    np.testing.assert_allclose(data.prefill(ops)[0], float64(data), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("ops", KERNELS)
@pytest.mark.parametrize("step", [0.5, 3.0])
def test_scores_that_grow_from_key_to_key(ops, step, rng):
    """The maximum is raised in some tiles and kept in others, of rows that see parts of a tile."""
    data = make(Case(contexts=(300,), heads=2, kv_heads=1, dim=16, kv_format="f32"), rng)
    data.q[0][:, :, 0] = 4 * step  # scores are scaled by a quarter
    data.k_cache[data.tables[0], 0, 0] = np.arange(304).reshape(-1, 16)
    np.testing.assert_allclose(data.prefill(ops)[0], float64(data), rtol=1e-3, atol=1e-3)
    parts = [data.attend(ops, [rows])[0] for rows in ((0, 40), (40, 300))]
    np.testing.assert_array_equal(np.concatenate(parts), data.prefill(ops)[0])


@pytest.mark.parametrize("ops", KERNELS)
def test_reads_a_strided_view_and_takes_sequences_without_queries(ops, rng):
    data = make(Case(contexts=(20, 30, 40), dim=16), rng)
    rows = [(10, 20), (30, 30), (35, 40)]
    wanted = np.concatenate(data.attend(ops, rows))
    q = np.concatenate([data.q[0][10:20], data.q[2][35:40]])
    starts, lens = np.array([0, 10, 10, 15], np.int32), np.array([20, 0, 40], np.int32)
    np.testing.assert_array_equal(data.call(ops.attention, strided(q), starts, lens), wanted)
    nothing = data.call(ops.attention, q[:0], np.zeros(4, np.int32), lens)
    assert nothing.shape == (0, 9, 16)


@pytest.mark.parametrize("ops", KERNELS)
@pytest.mark.parametrize("starts, lens", [([0, 5], [4]), ([0, 5], [33]), ([0, 9], [20]), ([-1, 5], [20])])
def test_refuses_lengths_out_of_bounds(ops, starts, lens, rng):
    data = make(Case(contexts=(32,), dim=16), rng)
    with pytest.raises(KernelError, match="sequence 0 has query rows"):
        data.call(ops.attention, data.q[0][:8], np.array(starts, np.int32), np.array(lens, np.int32))


@pytest.mark.parametrize("ops", KERNELS)
def test_refuses_a_block_outside_the_cache_but_not_in_padding(ops, rng):
    data = make(Case(contexts=(30, 32), dim=16), rng)
    data.tables[1, 1] = -1
    assert len(data.attend(ops, [(0, 30), (0, 16)])) == 2
    for wrong in (-1, len(data.k_cache)):
        data.tables[1, 1] = wrong
        with pytest.raises(KernelError, match="sequence 1 .* must be below 6"):
            data.attend(ops, [(0, 30), (0, 17)])


@pytest.mark.parametrize("ops", KERNELS)
def test_refuses_shapes_that_disagree(ops, rng):
    data = make(Case(contexts=(30,), heads=4, kv_heads=2, dim=16), rng)
    starts, lens = np.array([0, 30], np.int32), np.array([30], np.int32)
    for q in (data.q[0][:, :3], data.q[0][..., :8]):
        with pytest.raises(KernelError, match=r"must be \[T, H, D\]"):
            data.call(ops.attention, np.ascontiguousarray(q), starts, lens)
    for wrong in (
        replace(data, v_cache=data.v_cache[:1]),
        replace(data, v_cache=data.v_cache.astype(np.float32)),
        replace(data, tables=data.tables[:0]),
        replace(data, case=replace(data.case, window=-1)),
    ):
        with pytest.raises(KernelError, match=r"must be \[T, H, D\]"):
            wrong.call(ops.attention, data.q[0], starts, lens)
