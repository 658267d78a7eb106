"""`redline verify` holds on the real model, and each of a few planted faults breaks it."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from redline.bench.fidelity import BLOCK_SIZE, teacher_forced
from redline.bench.verify import fidelity, peer
from redline.bench.verify import subject as subjects
from redline.bench.verify.drawing import drawing
from redline.bench.verify.outcome import Check, Verdict, run_check
from redline.bench.verify.subject import Answer, Run, Subject, compared, difference
from redline.bench.verify.verify import checks_for, chosen, verify
from redline.cache.block_index import BlockIndex
from redline.cache.block_store import HostStore
from redline.cache.disk_store import DiskStore
from redline.core.radix import RadixPrefixIndex
from redline.decoding.sampler import Sampler, SampleRow
from redline.decoding.speculative.ngram import NgramDrafter
from redline.engine import engine
from redline.engine.forward import ReplayForward
from redline.errors import CapacityError, ConfigError
from redline.models.load_weights import load_weights
from redline.ops.kv_store.layout import SCALE_BYTES
from redline.ops.registry import backend
from redline.ops.rope_attention.composed import composed
from redline.ops.sample import reference
from tests.model_file import smollm2

model = pytest.mark.model


def outcomes(*names: str, **options: Any) -> dict[str, str]:
    path = smollm2()
    checks = chosen(checks_for(str(path), path, options), list(names))
    return {each.name: each.status for each in verify(checks, lambda line: None)}


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four prompts are enough to find a planted fault."""
    monkeypatch.setattr(subjects, "NUM_PROMPTS", 4)


@model
def test_a_sound_engine_holds(few: None) -> None:
    names = (
        "batch of one, batch of many",
        "found in the prefix cache",
        "prompts in chunks",
        "little memory",
        "after eviction",
        "after a restart, from disk",
        "seeds",
        "graph-replay",
        "kv-offload",
        "ngram-speculation",
        "jump-ahead",
    )
    assert set(outcomes(*names).values()) == {"holds"}


@model
def test_what_cannot_be_tested_with_the_options_is_skipped() -> None:
    options = {"prefix_cache": False, "speculative": "ngram", "threads": 1}
    found = outcomes("kv-offload", "ngram-speculation", "prefix-reuse", "number of threads", **options)
    assert set(found.values()) == {"skipped"}


@model
def test_a_kernel_that_depends_on_the_batch_is_found(few: None, monkeypatch: pytest.MonkeyPatch) -> None:
    true = ReplayForward.__call__

    def forward(self: ReplayForward, batch: Any) -> Any:
        logits_RV = true(self, batch)
        return logits_RV if len(logits_RV) == 1 else logits_RV + np.float32(1e-4)

    monkeypatch.setattr(ReplayForward, "__call__", forward)
    assert outcomes("batch of one, batch of many") == {"batch of one, batch of many": "broken"}


@model
def test_a_cache_that_returns_a_wrong_block_is_found(few: None, monkeypatch: pytest.MonkeyPatch) -> None:
    true = RadixPrefixIndex.match

    def match(self: RadixPrefixIndex, token_ids: list[int], salt: str = "") -> Any:
        found = true(self, token_ids, salt)
        return tuple([*reversed(table[:2]), *table[2:]] if len(table) > 1 else table for table in found)

    monkeypatch.setattr(RadixPrefixIndex, "match", match)
    assert outcomes("found in the prefix cache") == {"found in the prefix cache": "broken"}


@model
def test_a_sampler_that_ignores_its_seed_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = random.Random(0)
    monkeypatch.setattr("redline.decoding.sampler.uniform", lambda *_: draws.random())
    assert outcomes("seeds") == {"seeds": "broken"}


@model
def test_a_mask_that_is_off_by_one_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    ops = backend("cpu")
    true = ops.rope_attention

    def rope_attention(*operands: Any) -> Any:
        *others, starts, lengths, scale, window, cap = operands
        short = np.maximum(lengths - 1, np.diff(starts)).astype(np.int32)
        return true(*others, starts, short, scale, window, cap)

    monkeypatch.setattr(ops, "rope_attention", rope_attention)
    monkeypatch.setattr(fidelity, "SHORT_TEXT", 24)
    monkeypatch.setattr(fidelity, "CONTEXT", 64)
    # Replayed, the short lengths would be memory that is no more.
    assert outcomes("reference ops", graph_replay=False) == {"reference ops": "broken"}


@model
def test_a_stale_block_after_eviction_is_found(few: None, monkeypatch: pytest.MonkeyPatch) -> None:
    true = RadixPrefixIndex._drop

    def drop(self: RadixPrefixIndex, node: Any, group: int) -> None:
        """Another step is left with the block of this one, and its own is given to others."""
        free = (each for each in self._nodes.values() if self._pools[0].refcount(each.blocks[0]) == 1)
        other = next((each for each in free if each is not node), node)
        node.blocks[0], other.blocks[0] = other.blocks[0], node.blocks[0]
        self._nodes[node.blocks[0]], self._nodes[other.blocks[0]] = node, other
        true(self, node, group)

    monkeypatch.setattr(RadixPrefixIndex, "_drop", drop)
    assert outcomes("after eviction") == {"after eviction": "broken"}


@model
def test_a_later_chunk_at_wrong_positions_is_found(few: None, monkeypatch: pytest.MonkeyPatch) -> None:
    true = engine.prepare

    def prepare(plan: Any, block_size: int, num_groups: int = 1) -> Any:
        batch = true(plan, block_size, num_groups)
        for index, item in enumerate(plan.items):
            if item.start and item.num_tokens > 1:
                rows = slice(batch.query_start_S1[index], batch.query_start_S1[index + 1])
                batch.positions_T[rows] += 1
        return batch

    monkeypatch.setattr(engine, "prepare", prepare)
    assert outcomes("prompts in chunks") == {"prompts in chunks": "broken"}


@model
def test_seeds_of_other_rows_are_found(few: None, monkeypatch: pytest.MonkeyPatch) -> None:
    true = Sampler.sample

    def sample(self: Sampler, logits_RV: Any, rows: list[SampleRow]) -> Any:
        mixed = [replace(row, seed=other.seed) for row, other in zip(rows, reversed(rows), strict=True)]
        return true(self, logits_RV, mixed)

    monkeypatch.setattr(Sampler, "sample", sample)
    assert outcomes("batch of one, batch of many") == {"batch of one, batch of many": "broken"}


@model
@pytest.mark.parametrize("truncation", ["top_p", "min_p", "top_k"])
def test_a_truncation_that_drops_the_last_token_is_found(
    truncation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dropped(logits_RV: Any, *settings: Any) -> Any:
        ids_R = np.empty(len(logits_RV), np.int32)
        for row, logits_V in enumerate(logits_RV):
            *values, draw = (each[row] for each in settings)
            p_V = reference.probabilities(logits_V, *values)
            set_by = {"top_k": values[1] > 0, "top_p": values[2] < 1, "min_p": values[3] > 0}
            if set_by.pop(truncation) and not any(set_by.values()) and np.count_nonzero(p_V) > 1:
                p_V[np.where(p_V > 0, p_V, 2).argmin()] = 0
            ids_R[row] = reference._draw(p_V, draw)
        return ids_R

    logits_RV = (np.random.default_rng(0).standard_normal((2, 500)) * 3).astype(np.float32)
    ops = backend("cpu")
    assert drawing(ops, logits_RV).status == "holds"
    monkeypatch.setattr(ops, "sample", dropped)
    verdict = drawing(ops, logits_RV)
    assert verdict.status == "broken" and truncation in verdict.detail


@model
def test_the_sampler_is_checked_on_logits_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fidelity, "CONTEXT", 48)
    assert outcomes("sampler") == {"sampler": "holds"}
    true = Sampler._draw

    def colder(self: Sampler, logits_RV: Any, rows: list[SampleRow], by_steps: list[int]) -> list[int]:
        return true(self, logits_RV * np.float32(1.05), rows, by_steps)

    monkeypatch.setattr(Sampler, "_draw", colder)
    assert outcomes("sampler") == {"sampler": "broken"}


@model
def test_scales_of_another_head_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of int8 keys and values, the last bytes of a head's block."""
    ops = backend("cpu")
    true = ops.kv_store

    def kv_store(k_THD: Any, v_THD: Any, k_cache: Any, v_cache: Any, slots_T: Any) -> None:
        true(k_THD, v_THD, k_cache, v_cache, slots_T)
        if planted and k_cache.dtype == np.int8:
            for cache in (k_cache, v_cache):
                scales = cache[:, :, -BLOCK_SIZE * SCALE_BYTES :]
                scales[...] = np.roll(scales, 1, axis=1)

    planted: list[bool] = []
    monkeypatch.setattr(ops, "kv_store", kv_store)
    monkeypatch.setattr(ops, "rope_attention", composed(ops.rope, kv_store, ops.attention))
    monkeypatch.setattr(fidelity, "CONTEXT", 128)
    options = {"graph_replay": False, "kv_format": "f16"}
    assert outcomes("int8-kv", **options) == {"int8-kv": "holds"}
    planted.append(True)
    assert outcomes("f16-kv", "int8-kv", **options) == {"f16-kv": "holds", "int8-kv": "broken"}


@model
def test_a_format_that_is_not_in_use_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def forced(decoder: Any, ids: Any, kv_format: str, *more: Any, **named: Any) -> Any:
        return teacher_forced(decoder, ids, "f32", *more, **named)

    monkeypatch.setattr(fidelity, "teacher_forced", forced)
    monkeypatch.setattr(fidelity, "CONTEXT", 32)
    assert outcomes("int8-kv") == {"int8-kv": "broken"}


@model
def test_sums_that_depend_on_the_threads_are_found(few: None, monkeypatch: pytest.MonkeyPatch) -> None:
    true, counts = ReplayForward.__call__, [2]

    def forward(self: ReplayForward, batch: Any) -> Any:
        logits_RV = true(self, batch)
        return logits_RV * np.float32(1 + 1e-6) if counts[-1] == 1 else logits_RV

    monkeypatch.setattr("redline.engine.build.threads.set_num_threads", counts.append)
    monkeypatch.setattr(ReplayForward, "__call__", forward)
    assert outcomes("number of threads", threads=2) == {"number of threads": "broken"}


@model
def test_a_restart_that_loses_the_blocks_is_found(few: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DiskStore, "_adopt", lambda self, file: BlockIndex({}, 0))
    names = ("after a restart, from disk", "disk-cache")
    assert outcomes(*names) == dict.fromkeys(names, "broken")


@model
def test_a_prefix_cache_that_finds_nothing_is_found(few: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though prompts that run together still share what they begin with."""
    true, rounds = subjects.ask, []

    def ask(llm: Any, **how: Any) -> Any:
        rounds.append(llm)
        if rounds[:-1] and rounds[-2] is llm:
            monkeypatch.setattr(RadixPrefixIndex, "match", lambda self, *_: tuple([] for _ in self._pools))
            monkeypatch.setattr(RadixPrefixIndex, "match_within", lambda *_: ((), 0))
        return true(llm, **how)

    monkeypatch.setattr(subjects, "ask", ask)
    assert outcomes("found in the prefix cache") == {"found in the prefix cache": "broken"}


@model
def test_host_memory_that_forgets_is_found(few: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HostStore, "__contains__", lambda self, key: False)
    assert outcomes("kv-offload") == {"kv-offload": "broken"}


@model
def test_a_technique_that_did_nothing_is_not_said_to_hold(few: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NgramDrafter, "propose", lambda *_: [])
    assert outcomes("ngram-speculation") == {"ngram-speculation": "skipped"}


@model
def test_a_wrong_zero_point_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from redline.models import gguf_weights

    true = gguf_weights.weight_from_gguf

    def weight_from_gguf(blocks: Any, kind: int, shape: tuple[int, int], compute: str = "int8") -> Any:
        weight = true(blocks, kind, shape, compute)
        if compute == "int8" and weight.packed.mins is not None:
            weight.packed.mins[...] *= 0.9
        return weight

    monkeypatch.setattr(gguf_weights, "weight_from_gguf", weight_from_gguf)
    monkeypatch.setattr(fidelity, "CONTEXT", 64)
    assert outcomes("integer-activations") == {"integer-activations": "broken"}


@model
@pytest.mark.parametrize("name", ["reference ops", "int8-kv", "integer-activations"])
def test_what_is_not_exact_stays_within_its_bound(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fidelity, "SHORT_TEXT", 24)
    monkeypatch.setattr(fidelity, "CONTEXT", 128)
    assert outcomes(name) == {name: "holds"}


@model
def test_little_memory_for_floats_skips_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fidelity.Predictions, "lacks_memory", True)
    assert outcomes("reference ops", "f16-kv") == {"reference ops": "skipped", "f16-kv": "skipped"}


WITH_TRANSFORMERS = ("transformers against float kernels", "transformers against integer kernels")


@model
@pytest.mark.oracle
@pytest.mark.slow
def test_transformers_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fidelity, "CONTEXT", 72)
    assert outcomes(*WITH_TRANSFORMERS) == dict.fromkeys(WITH_TRANSFORMERS, "holds")


@model
def test_other_predictions_than_those_of_transformers_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def logits(path: Any, ids: list[int], first: int, threads: int) -> Any:
        decoder = load_weights(path, backend("cpu"), "float")
        one_late = teacher_forced(decoder, ids, "f32", first=first - 1)
        return np.concatenate(list(one_late))[:-1]

    monkeypatch.setattr(fidelity, "CONTEXT", 72)
    monkeypatch.setattr(fidelity, "transformers_logits", logits)
    assert outcomes(*WITH_TRANSFORMERS) == dict.fromkeys(WITH_TRANSFORMERS, "broken")


@model
def test_without_transformers_they_are_skipped_with_a_note(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(peer.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("REDLINE_CACHE", str(tmp_path))
    with pytest.raises(peer.PeerCannot, match="transformers is not installed"):
        peer.transformers_python()
    monkeypatch.setattr(fidelity, "CONTEXT", 24)
    path = smollm2()
    checks = chosen(checks_for(str(path), path, {}), list(WITH_TRANSFORMERS[:1]))
    [found] = verify(checks, lambda line: None)
    assert found.status == "skipped" and "is not installed" in found.detail


def test_a_peer_that_cannot_open_a_model_says_why(tmp_path: Path) -> None:
    with pytest.raises(peer.PeerCannot, match="transformers cannot run it: "):
        peer.transformers_logits(tmp_path / "nothing.gguf", [1, 2], 0, 1)


@model
def test_with_naive_attention_nothing_is_promised_bit_for_bit() -> None:
    path = smollm2()
    checks = [
        each for each in checks_for(str(path), path, {"flash_attention": False}) if each.promise == "exact"
    ]
    found = list(verify(checks, lambda line: None))
    assert len(found) > 20 and {each.status for each in found} == {"skipped"}
    assert "naive attention is not exact" in found[0].detail


@pytest.fixture
def one() -> Run:
    return Run([answer([5, 6], [-0.5, -0.25])], stats=None)  # type: ignore[arg-type]


def answer(tokens: list[int], logprobs: list[float]) -> Answer:
    return Answer(tokens, [(each, ((tokens[0], each),)) for each in logprobs], 0)


@pytest.mark.parametrize(
    ("tokens", "logprobs", "said"),
    [
        ([5, 7], [-0.5, -0.25], "prompt 0, token 1: 6 became 7"),
        ([5], [-0.5], "prompt 0, token 1: 6 became nothing"),
        ([5, 6, 7], [-0.5, -0.25, -1.0], "prompt 0: 2 tokens became 3"),
        ([5, 6], [-0.5, -0.2500001], "prompt 0, token 1: its log-probability moved by"),
    ],
)
def test_the_first_difference_is_named(one: Run, tokens: list[int], logprobs: list[float], said: str) -> None:
    assert difference(one, one) is None
    found = difference(one, Run([answer(tokens, logprobs)], stats=None))  # type: ignore[arg-type]
    assert found is not None and found.startswith(said)


@pytest.mark.parametrize("kind", [CapacityError, AssertionError, ValueError])
def test_an_error_of_the_engine_is_a_broken_promise(kind: type[Exception]) -> None:
    def fail() -> Verdict:
        raise kind("no room")

    outcome = run_check(Check(name="it", promise="exact", run=fail))
    assert (outcome.status, outcome.detail) == ("broken", f"{kind.__name__}: no room")


def test_answers_without_tokens_prove_nothing() -> None:
    empty = Run([Answer([], [], 0)], stats=None)  # type: ignore[arg-type]
    assert compared(empty, empty, what="it").status == "broken"


def test_an_unknown_check_is_refused() -> None:
    with pytest.raises(ConfigError, match="'what'; the checks are it"):
        chosen([Check(name="it", promise="exact", run=lambda: Verdict("holds", ""))], ["what"])


def test_one_option_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = Subject("model", {})
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(subject, "asked", lambda **changes: asked.append(changes))
    subject.asked_once({"fusion": False})
    subject.asked_once({"fusion": False})
    subject.asked_once({"fusion": True})
    assert asked == [{"fusion": False}, {"fusion": True}]
