"""`redline profile`: every call is counted with what it moves and multiplies, and held to the roofline."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from redline.bench.ceiling import Ceiling
from redline.bench.profile import profile as module
from redline.bench.profile.calls import Call, Recorder, attention_cost
from redline.bench.profile.flame import flame_svg
from redline.bench.profile.phase import Phase
from redline.bench.profile.profile import Profile, Roof, parts, profile_model
from redline.cli.main import main
from redline.config.engine import EngineConfig
from tests.model_file import smollm2

CEILING = Ceiling(
    threads=2,
    isa="avx2",
    read_bytes=50e9,
    buffer_bytes=10**8,
    memory_read_bytes=30e9,
    macs={"f32": 100e9, "int8": 200e9},
)
LAYERS, HIDDEN, MLP, HEADS, KV_HEADS, DIM, VOCABULARY = 30, 576, 1536, 9, 3, 64, 49152


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ceiling, "measure", lambda *_: CEILING)
    monkeypatch.setattr(module, "WARM_UPS", 1)


@pytest.mark.model
@pytest.mark.parametrize("fusion", [True, False])
def test_calls_of_the_real_model(quick: None, fusion: bool) -> None:
    prefill = Phase(name="prefill", batch=1, tokens=20, context=20)
    decode = Phase(name="decode", batch=3, tokens=1, context=33)
    config = EngineConfig(model="smollm2", fusion=fusion)
    found = profile_model(config, smollm2(), [prefill, decode], 1, lambda line: None)
    for each, rows in zip(found.profiles, (20, 3), strict=True):
        by_name = {part.name: part for part in each.parts}
        matrices = {
            "attention.qkv": (HEADS + 2 * KV_HEADS) * DIM * HIDDEN,
            "attention.output": HIDDEN * HIDDEN,
            "mlp.gate_up": 2 * MLP * HIDDEN,
            "mlp.down": HIDDEN * MLP,
        }
        for name, size in matrices.items():
            last = 1 if each.phase is prefill and name not in ("attention.qkv",) else rows
            assert by_name[name].calls == LAYERS
            assert by_name[name].macs == ((LAYERS - 1) * rows + last) * size, name
            assert by_name[name].bytes > LAYERS * size * 5 // 8  # Q4_1: five bits a weight
        assert by_name["output"].macs == each.phase.batch * VOCABULARY * HIDDEN
        attention = by_name["rope_attention" if fusion else "attention"]
        attended = 20 * 21 // 2 if each.phase is prefill else 3 * 33
        assert attention.macs == LAYERS * 2 * attended * HEADS * DIM
        assert ("rmsnorm" in by_name) == (not fusion)
        assert {call.layer for call in each.calls} == {None, *range(LAYERS)}
        assert 0 < sum(call.seconds for call in each.calls) <= each.seconds * 1.01


@pytest.mark.parametrize(
    ("counts", "lengths", "window", "seen", "attended"),
    [
        ([1], [100], 0, 100, 100),
        ([4], [4], 0, 4, 10),
        ([2], [10], 0, 10, 19),
        ([1, 3], [5, 7], 0, 12, 5 + 5 + 6 + 7),
        ([1], [100], 16, 16, 16),
        ([2], [100], 16, 17, 32),
        ([4], [4], 16, 4, 10),
    ],
)
def test_cost_of_attention(
    counts: list[int], lengths: list[int], window: int, seen: int, attended: int
) -> None:
    q_THD = np.zeros((sum(counts), 4, 8), np.float32)
    starts_S1 = np.cumsum([0, *counts]).astype(np.int32)
    operands = (q_THD, None, None, None, starts_S1, np.array(lengths, np.int32), 1.0, window, 0.0)
    num_bytes, macs = attention_cost(operands, 10)
    assert macs == 2 * attended * 4 * 8
    assert num_bytes == seen * 10 + 2 * q_THD.nbytes


def call(part: str, seconds: float, *, num_bytes: int = 0, macs: int = 0, layer: int | None = 0) -> Call:
    return Call(part=part, layer=layer, seconds=seconds, bytes=num_bytes, macs=macs, kind="int8")


def test_parts_are_calls_by_name_and_the_one_that_loses_most_comes_first() -> None:
    calls = [
        call("fast", 2e-3, num_bytes=10**8),
        call("slow", 1e-3, macs=10**8),
        call("fast", 2e-3, num_bytes=10**8),
        call("slow", 9e-3, num_bytes=5 * 10**7, macs=10**8),
    ]
    slow, fast = parts(calls, Roof(CEILING))
    assert (fast.name, fast.calls, fast.bytes, fast.bound) == ("fast", 2, 2 * 10**8, "memory")
    assert fast.least_s == pytest.approx(4e-3) and fast.lost_s == pytest.approx(0)
    assert (slow.name, slow.macs, slow.bound) == ("slow", 2 * 10**8, "memory")
    assert slow.least_s == pytest.approx(0.5e-3 + 1e-3) and slow.lost_s == pytest.approx(8.5e-3)


def test_an_op_without_a_cost_of_its_own_moves_its_arrays() -> None:
    ops = SimpleNamespace(add=lambda x, y: x + y, name="fake")
    recorder = Recorder(ops)  # type: ignore[arg-type]
    recorder.ops.add(np.zeros(8, np.float32), np.zeros(8, np.float32))
    [added] = recorder.calls
    assert (added.part, added.layer, added.bytes, added.macs) == ("add", None, 3 * 32, 0)
    assert recorder.ops.name == "fake"


def test_the_flame_view_shows_every_call_in_its_layer() -> None:
    calls = [call("embedding", 1e-3, layer=None), call("mlp.down", 2e-3), call("output", 5e-3, layer=None)]
    phase = Phase(name="decode <1>", batch=1, tokens=1, context=2)
    one = Profile(phase=phase, seconds=9e-3, calls=calls, parts=parts(calls, Roof(CEILING)))
    assert one.between_s == pytest.approx(1e-3)
    root = ElementTree.fromstring(flame_svg([one, one], "a model"))
    tips = [each.text for each in root.iter("{http://www.w3.org/2000/svg}title")]
    assert tips[0] == "a model"
    assert tips[1:5] == [
        "embedding: 1000.0 us",
        "layer 0: 2000.0 us",
        "mlp.down: 2000.0 us",
        "output: 5000.0 us",
    ]
    assert len(tips) == 9


@pytest.mark.model
def test_the_verb_prints_tables_and_writes_both_files(
    quick: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flame, report = tmp_path / "flame.svg", tmp_path / "profile.json"
    sizes = ["--prompt-tokens", "16", "--batches", "1, 2,2", "--context", "20", "--repeats", "1"]
    assert main(["profile", *sizes, "--flame", str(flame), "--json", str(report)]) == 0
    out = capsys.readouterr().out
    assert out.count("Next: ") == 3 and "prefill of 16 tokens" in out and "decode, batch 2, 20 tokens" in out
    phases = json.loads(report.read_text())["phases"]
    assert [each["phase"]["batch"] for each in phases] == [1, 1, 2] and phases[0]["between_s"] >= 0
    assert flame.read_text().startswith("<svg")


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--prompt-tokens", "0"], "--prompt-tokens is 0"),
        (["--context", "100000"], "--context is 100000"),
        (["--batches", "1,x"], "--batches has 'x'"),
        (["--batches", "0"], "--batches is 0"),
        (["--repeats", "0"], "--repeats is 0"),
        (["--flame", "none/a.svg"], "none/a.svg"),
    ],
)
def test_bad_flags_are_refused(flags: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", *flags]) == 2
    assert named in capsys.readouterr().err


@pytest.mark.model
def test_ctrl_c_leaves_the_phases_that_are_whole(
    quick: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A real signal, in the second phase."""
    true, phases = module._profile, []

    def interrupted(*operands: Any) -> Any:
        phases.append(operands)
        if len(phases) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return true(*operands)

    monkeypatch.setattr(module, "_profile", interrupted)
    report, flame = tmp_path / "profile.json", tmp_path / "flame.svg"
    sizes = ["--prompt-tokens", "16", "--batches", "1,2", "--context", "20", "--repeats", "1"]
    assert main(["profile", *sizes, "--json", str(report), "--flame", str(flame)]) == 130
    found = json.loads(report.read_text())
    assert found["interrupted"] and [each["phase"]["tokens"] for each in found["phases"]] == [16]
    assert ElementTree.fromstring(flame.read_text()).tag.endswith("svg")
