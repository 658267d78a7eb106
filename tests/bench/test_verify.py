"""`redline verify` holds on the real model, and each of a few planted faults breaks it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from redline.bench.fidelity import teacher_forced
from redline.bench.verify import fidelity, peer
from redline.bench.verify.outcome import Check, Verdict, run_check
from redline.bench.verify.subject import Answer, Run, Subject, difference
from redline.bench.verify.verify import checks_for, chosen, verify
from redline.cli.main import main
from redline.core.radix import RadixPrefixIndex
from redline.engine.forward import ReplayForward
from redline.errors import CapacityError, ConfigError
from redline.models.load_weights import load_weights
from redline.ops.registry import backend
from tests.model_file import smollm2

model = pytest.mark.model


def outcomes(*names: str, **options: Any) -> dict[str, str]:
    path = smollm2()
    checks = chosen(checks_for(str(path), path, options), list(names))
    return {each.name: each.status for each in verify(checks, lambda line: None)}


@model
def test_a_sound_engine_holds() -> None:
    names = (
        "batch of one, batch of many",
        "found in the prefix cache",
        "little memory",
        "seeds",
        "graph-replay",
    )
    assert set(outcomes(*names).values()) == {"holds"}


@model
def test_what_cannot_be_tested_with_the_options_is_skipped() -> None:
    options = {"prefix_cache": False, "speculative": "ngram", "threads": 1}
    found = outcomes("kv-offload", "ngram-speculation", "prefix-reuse", "number of threads", **options)
    assert set(found.values()) == {"skipped"}


@model
def test_a_kernel_that_depends_on_the_batch_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    true = ReplayForward.__call__

    def forward(self: ReplayForward, batch: Any) -> Any:
        logits_RV = true(self, batch)
        return logits_RV if len(logits_RV) == 1 else logits_RV + np.float32(1e-4)

    monkeypatch.setattr(ReplayForward, "__call__", forward)
    assert outcomes("batch of one, batch of many") == {"batch of one, batch of many": "broken"}


@model
def test_a_cache_that_returns_a_wrong_block_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert outcomes("reference ops") == {"reference ops": "broken"}


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
    checks = checks_for(str(path), path, {"flash_attention": False})
    assert not any(check.promise == "exact" for check in checks)


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


def test_an_error_of_the_engine_is_a_broken_promise() -> None:
    def fail() -> Verdict:
        raise CapacityError("no room")

    outcome = run_check(Check(name="it", promise="exact", run=fail))
    assert (outcome.status, outcome.detail) == ("broken", "CapacityError: no room")


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Replaces all checks by one with this status."""

    def plant(status: str) -> None:
        check = Check(name="it", promise="exact", run=lambda: Verdict(status, "as it is"))  # type: ignore[arg-type]
        monkeypatch.setattr("redline.bench.verify.verify.checks_for", lambda *_: [check])

    return plant


@model
@pytest.mark.parametrize(("status", "code", "mark"), [("holds", 0, "ok"), ("broken", 1, "BROKEN")])
def test_the_exit_code_says_whether_all_held(
    planted: Callable[[str], None], status: str, code: int, mark: str, capsys: pytest.CaptureFixture[str]
) -> None:
    planted(status)
    assert main(["verify"]) == code
    assert capsys.readouterr().out.startswith(f"{mark:<8}exact      it  as it is\n")
    assert main(["verify", "--json"]) == code
    [outcome] = json.loads(capsys.readouterr().out)["outcomes"]
    assert outcome["status"] == status and outcome["detail"] == "as it is"


def test_an_unknown_check_is_refused() -> None:
    with pytest.raises(ConfigError, match="'what'; the checks are it"):
        chosen([Check(name="it", promise="exact", run=lambda: Verdict("holds", ""))], ["what"])


def test_one_option_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = Subject("model", {})
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(subject, "asked", lambda **changes: asked.append(changes))
    subject.asked_once("fusion", False)
    subject.asked_once("fusion", False)
    subject.asked_once("fusion", True)
    assert asked == [{"fusion": False}, {"fusion": True}]
