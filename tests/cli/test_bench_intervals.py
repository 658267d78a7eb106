"""The interval beside each number, and bench compare, for the verbs that need no server; on fake engines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from redline.bench.against import Engine
from redline.bench.ceiling import Ceiling
from redline.cli import bench, bench_against, bench_ops
from redline.config.engine import EngineConfig
from tests.bench.test_against import CEILING, MODEL, WORKER
from tests.bench.test_offline import FakeLLM, metrics
from tests.bench.test_ops import SPEC

REPORTS = Path(__file__).parent.parent.parent / "benchmarks"


@pytest.fixture(autouse=True)
def no_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file that is no model, and ceilings that take no time."""
    file = tmp_path / "tiny.gguf"
    file.write_bytes(b"x" * 1000)
    for module in (bench, bench_against, bench_ops):
        monkeypatch.setattr(module, "fetch", lambda model: file)
    monkeypatch.setattr("redline.bench.ceiling.read_bandwidth", lambda threads, *, num_bytes: 1e9)
    monkeypatch.setattr(Ceiling, "measure", lambda *args: CEILING)


class SlowingLLM(FakeLLM):
    """Each call makes tokens 1 % slower than the last one."""

    model_name, kv_bytes, reasons = "tiny", 1, ()
    config = EngineConfig.from_dict({"model": "tiny", "threads": 1})

    def generate(self, prompts: list[list[int]], params: Any) -> list[Any]:
        outputs = super().generate(prompts, params)
        gap_s = 0.1 * 1.01 ** len(self.calls)
        for output in outputs:
            output.metrics = metrics(0.0, 0.2, [gap_s] * 3)
        return outputs


def test_bench_offline_prints_intervals_and_its_reports_are_compared(run, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(bench, "open_llm", lambda args, **options: SlowingLLM())
    files = [str(tmp_path / name) for name in ("a.json", "b.json")]
    for file, repeats in zip(files, ("4", "5"), strict=True):
        code, out, err = run("bench", "offline", "--output-tokens", "4", "--repeats", repeats, "--json", file)
        assert (code, err) == (0, "")
    lines = {line[:12].rstrip(): " ".join(line[12:].split()) for line in out.splitlines()}
    assert lines["TTFT"] == "200 ms +- 0.0%" and lines["decode"].startswith("9.23 tok/s +- 6.6%")
    assert lines["runs"].startswith("Medians of 5 runs after a warm-up; +- is where the median of as many")
    report = json.loads(Path(files[1]).read_text())
    tpot = report["subjects"][0]["metrics"]["tpot_s"]
    assert tpot["median"] == report["result"]["tpot_s"] == pytest.approx(0.1 * 1.01**8)
    assert tpot["low"] < min(tpot["values"]) and max(tpot["values"]) < tpot["high"]
    code, out, err = run("bench", "compare", *files)
    assert (code, err) == (0, "") and "TPOT" in out and "no difference shown" in out
    assert "did not measure the same" not in out, "more repeats are no other load"
    _, out, _ = run("bench", "offline", "--output-tokens", "4", "--repeats", "1")
    assert "one run" in out and "One run, which has no interval" in out


@pytest.fixture
def two_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    def engines(settings: Any, tell: Any) -> Iterator[Engine]:
        options = {"model": "works", "threads": 1}
        return (
            Engine(name=name, reads="itself", command=(sys.executable, str(WORKER)), options=options)
            for name in ("Redline", "fast")
        )

    monkeypatch.setattr("redline.bench.contest.engines", engines)
    monkeypatch.setattr("redline.bench.contest.Footprint", lambda **sizes: MODEL)
    monkeypatch.setattr("redline.bench.against.REST_S", 0.0)
    monkeypatch.setattr("redline.bench.peers.process.Worker._answer", answered())


def answered() -> Any:
    from redline.bench.peers.process import Worker

    original = Worker._answer

    def answer(self: Worker, timeout_s: float) -> dict[str, Any]:
        return {"footprint": {}, **original(self, timeout_s)}

    return answer


def test_a_comparison_prints_intervals_and_is_compared_with_another(run, two_engines, tmp_path) -> None:
    files = [str(tmp_path / name) for name in ("a.json", "b.json")]
    markdown = tmp_path / "a.md"
    for file, cases in zip(files, ("prefill,decode_1", "decode_1"), strict=True):
        flags = ["--cases", cases, "--repeats", "4", "--json", file, "--markdown", str(markdown)]
        code, out, err = run("bench", "offline", "--against", "openvino", *flags)
        assert (code, err) == (0, "")
    row = next(line for line in out.splitlines() if line.split()[:1] == ["fast"]).split()
    assert row.count("+-") == 2 and row[-2:] == ["best", "peer"]
    assert "Medians of 4 alternating runs" in out
    cells = [line for line in markdown.read_text().splitlines() if line.startswith("|  | fast |")]
    assert cells and cells[0].count("| +- ") == 2
    code, out, err = run("bench", "compare", *files)
    words = " ".join(out.split())
    assert (code, err) == (0, "") and "B Redline beside A Redline" in words
    assert "decode_1: Redline is" in words and "workload, prefill: 512 tokens in, 1 out / none" in words
    assert "only in A: prefill" in words
    report = json.loads(run("bench", "compare", *files, "--json")[1])
    assert [each["name"] for each in report["differences"]["Redline"]] == ["decode_1"]


def test_bench_ops_prints_intervals_and_its_reports_are_compared(run, monkeypatch, tmp_path) -> None:
    class Decoder:
        spec = SPEC

    monkeypatch.setattr("redline.models.load_weights.load_weights", lambda *args: Decoder())
    monkeypatch.setattr("redline.bench.footprint.model_footprint", lambda decoder, kv_bytes: MODEL)
    monkeypatch.setattr("redline.bench.ops.read_bandwidth", lambda threads, *, num_bytes: 1e9)
    times_s = iter([1e-6, 1.1e-6, 1.2e-6, 1.3e-6, 3e-6, 3.1e-6, 3.3e-6, 3.5e-6])
    monkeypatch.setattr("redline.bench.ops.seconds_per_call", lambda call: next(times_s))
    files = [str(tmp_path / name) for name in ("a.json", "b.json")]
    for file in files:
        code, out, err = run(
            "bench", "ops", "--only", "norms", "--rows", "2", "--repeats", "4", "--json", file
        )
        assert (code, err) == (0, "")
    assert out.splitlines()[1].split()[:6] == ["rmsnorm", "256", "2", "3.2", "us", "+-"]
    code, out, err = run("bench", "compare", *files)
    assert (code, err) == (0, "") and "2.80x, worse (p=0.029)" in " ".join(out.split())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ablate_xeon_amx_2026-11-22", "it is of redline ablate, and its numbers are ratios already"),
        (
            "batch_sweep_xeon_amx_2026-11-22",
            "it is of a redline bench sweep from before its reports could be",
        ),
        ("soak_xeon_amx_2026-11-22", "it is no report of redline bench"),
    ],
)
def test_reports_that_have_no_runs_to_compare_are_refused_by_name(run, name, message) -> None:
    file = str(REPORTS / f"{name}.json")
    code, out, err = run("bench", "compare", file, file)
    assert (code, out) == (2, "") and "cannot be compared" in err and message in err


def test_reports_without_a_number_in_common_are_refused(run, tmp_path) -> None:
    from redline.bench.results.metric import Metric

    files = []
    for name in ("prefill", "output"):
        measured = Metric(name, "tok/s", "higher").measured([1.0, 2.0])
        report = {
            "kind": "offline",
            "measured": {"workload": name},
            "environment": {"cpu": "A", "num_cores": 1},
            "subjects": [{"name": "redline", "metrics": {name: measured}}],
        }
        files.append(tmp_path / f"{name}.json")
        files[-1].write_text(json.dumps(report))
    code, out, err = run("bench", "compare", *map(str, files))
    assert (code, out) == (2, "") and "have no number in common" in err
