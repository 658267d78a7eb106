"""redline bench sweep: what is refused, what is written, and what the exit code says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from redline.cli import bench_sweep
from redline.cli.terminal import progress_bar
from tests.bench.test_sweep import times_of
from tests.bench.test_sweep_report import CIRCUMSTANCES
from tests.model_file import smollm2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--batches", ""], "--batches has ''; each must be an integer between 1 and 4096"),
        (["--batches", "1,,2"], "--batches has ''"),
        (["--batches", "4,x"], "--batches has 'x'"),
        (["--batches", "2.5"], "--batches has '2.5'"),
        (["--batches", "0"], "--batches has '0'"),
        (["--batches", "4097"], "--batches has '4097'"),
        (["--batches", "-1"], "--batches has '-1'"),
        (["--budgets", "512,all"], "--budgets has 'all'; each must be a positive integer, or none"),
        (["--budgets", "0"], "--budgets has '0'"),
        (["--batches", "64", "--budgets", "16"], "--budgets has no budget that reaches 64"),
        (["--requests", "8"], "--requests is 8; it must be at least 64, twice the largest batch"),
        (["--requests", "1", "--rate", "2"], "requests is 1"),
        (["--rate", "0"], "rate is 0.0; it must be requests per second"),
        (["--ttft", "0"], "--ttft is 0; it must be seconds"),
        (["--tpot", "-1"], "--tpot is -1"),
        (["--percentile", "101"], "--percentile is 101"),
        (["--repeats", "0"], "--repeats is 0"),
        (["--output-tokens", "1"], "output_tokens is 1; it must be at least 2"),
        (["--max-batch", "4"], "--max-batch has no effect in a sweep; --batches lists the values"),
        (["--chunked-prefill", "64"], "--chunked-prefill has no effect in a sweep; --budgets lists"),
        (["--plot", "/no/such/place/x.svg"], "/no/such/place/x.svg cannot be written"),
        (["--threads", "0"], "threads is 0"),
    ],
)
def test_wrong_flags_are_refused_before_anything_is_loaded(run, flags, message) -> None:
    code, out, err = run("bench", "sweep", *flags)
    assert (code, out) == (2, "")
    assert message in err


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """No model: a batch of n has n tokens per 10 ms. fake["stop_at"] is the run that Ctrl-C ends."""
    state: dict[str, Any] = {"runs": 0, "stop_at": None, "options": None}

    class Model:
        model_name = "fake"

    def opened(args: Any, **options: Any) -> Model:
        state["options"] = options
        return Model()

    def runs_of(llm: Model, load: Any) -> Any:
        def run_one(setting: Any, repeat: int, on_request: Any) -> Any:
            state["runs"] += 1
            if state["runs"] == state["stop_at"]:
                raise KeyboardInterrupt
            waves = range(load.requests // setting.max_batch)
            return [
                times_of(wave, 0.01 * setting.max_batch, 8, gap_s=0.01)
                for wave in waves
                for _ in range(setting.max_batch)
            ]

        return run_one

    monkeypatch.setattr(bench_sweep, "open_llm", opened)
    monkeypatch.setattr("redline.bench.sweep.sweep.runs_of", runs_of)
    circumstances = {
        name: CIRCUMSTANCES[name] for name in ("threads", "kv_bytes", "reasons", "ceiling", "environment")
    }
    monkeypatch.setattr(bench_sweep, "_circumstances", lambda llm: circumstances)
    return state


def test_without_a_target_the_sweep_succeeds_and_loads_the_largest_batch_once(run, fake) -> None:
    code, out, err = run("bench", "sweep", "--batches", "4,1,2", "--repeats", "2", "--requests", "2000")
    assert (code, err) == (0, "")
    assert out.startswith(
        "fake\n2000 requests, median 128 tokens in, 64 out, log-normal, closed loop, seed 0."
    )
    assert fake["runs"] == 1 + 2 * 3
    assert fake["options"] == {"max_batch": 4, "prefix_cache": False, "max_waiting": 2000}


def test_the_exit_code_says_whether_a_setting_meets_the_target(run, fake) -> None:
    sizes = ("--batches", "1,2,4", "--repeats", "1")
    code, out, _ = run("bench", "sweep", *sizes, "--ttft", "0.025")
    assert code == 0 and "Best: batch 2, budget 512" in " ".join(out.split())
    code, out, err = run("bench", "sweep", *sizes, "--ttft", "0.005")
    assert (code, err) == (1, "")
    assert "No setting has TTFT p95 of at most 5 ms. The closest is batch 1," in " ".join(out.split())


def test_files_are_written_beside_the_table(run, fake, tmp_path) -> None:
    (tmp_path / "plots").mkdir()
    files = {"--json": "a.json", "--markdown": "a.md", "--plot": "plots/a.svg"}
    flags = [word for flag, name in files.items() for word in (flag, str(tmp_path / name))]
    code, out, _ = run("bench", "sweep", "--batches", "1,2,4", "--budgets", "2,none", *flags)
    assert code == 0 and out.startswith("fake\n")
    report = json.loads((tmp_path / "a.json").read_text())
    assert [(row["max_batch"], row["chunked_prefill"]) for row in report["settings"]] == [
        (1, 2), (2, 2), (1, None), (2, None), (4, None),
    ]  # fmt: skip
    assert report["left_out"] and report["left_out"][0] in (tmp_path / "a.md").read_text()
    assert "(plots/a.svg)" in (tmp_path / "a.md").read_text()
    assert (tmp_path / "plots/a.svg").read_text().startswith("<svg")


def test_json_alone_is_all_there_is_on_stdout(run, fake) -> None:
    code, out, err = run("bench", "sweep", "--batches", "1,2", "--json")
    assert (code, err) == (0, "") and json.loads(out)["command"][:3] == ["redline", "bench", "sweep"]


def test_two_sweeps_are_compared_setting_by_setting(run, fake, tmp_path) -> None:
    files = [str(tmp_path / name) for name in ("a.json", "b.json")]
    for file, batches in zip(files, ("1,2", "2,4"), strict=True):
        assert run("bench", "sweep", "--batches", batches, "--repeats", "4", "--json", file)[0] == 0
    code, out, err = run("bench", "compare", *files)
    assert (code, err) == (0, "")
    assert "batch 2, budget 512: TTFT p95" in out and "no difference shown (p=1.00)" in out
    words = " ".join(out.split())
    assert "only in A: batch 1, budget 512: output;" in words and "and 3 more only in B: batch 4," in words
    code, out, _ = run("bench", "compare", *files, "--json")
    assert len(json.loads(out)["differences"][""]) == 9 and len(json.loads(out)["only_in_one"][""]) == 2


def test_ctrl_c_prints_what_was_measured_so_far(run, fake) -> None:
    fake["stop_at"] = 4
    code, out, _ = run("bench", "sweep", "--batches", "1,2,4", "--json")
    report = json.loads(out)
    assert (
        code == 130 and report["interrupted"] and [row["max_batch"] for row in report["settings"]] == [1, 2]
    )
    fake["runs"], fake["stop_at"] = 0, 1
    assert run("bench", "sweep", "--batches", "1,2,4") == (130, "", "")


def test_a_bar_that_counts_names_what_it_counts(monkeypatch, capsys) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr("redline.cli.terminal.PATIENCE_S", 0.0)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with progress_bar("sweeping", "requests") as progress:
        progress(3, 12)
    shown = capsys.readouterr().err
    assert " 3/12" in shown and "requests" in shown and "bytes" not in shown


@pytest.mark.model
def test_a_real_sweep_reports_each_setting(run, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("redline.bench.ceiling.BUFFER_BYTES", 1 << 22)
    plot, sizes = (
        tmp_path / "plot.svg",
        ["--prompt-tokens", "6", "--output-tokens", "4", "--lengths", "fixed"],
    )
    grid = ["--batches", "1,4", "--requests", "8", "--repeats", "1", "--max-context", "64"]
    target = ["--tpot", "1e-9", "--plot", str(plot)]
    code, out, err = run("bench", "sweep", "--model", str(smollm2()), *grid, *sizes, *target, "--json")
    assert (code, err) == (1, ""), "nothing makes a token in a nanosecond"
    report = json.loads(out)
    assert [row["max_batch"] for row in report["settings"]] == [1, 4]
    for row in report["settings"]:
        assert row["output_tok_s"] > 0 and row["total_tok_s"] > row["output_tok_s"]
        assert 0 < row["ttft_s"]["p50"] <= row["ttft_s"]["p99"] and row["tpot_s"]["p50"] > 0
        assert 0 < row["occupancy"] <= row["max_batch"] + 1e-9 and row["num_preemptions"] == 0
    assert report["ceiling"]["read_bytes"] > 0 and plot.read_text().startswith("<svg")
