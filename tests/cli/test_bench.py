from __future__ import annotations

import json
from importlib import import_module

import pytest

from tests.model_file import smollm2


@pytest.mark.model
def test_the_verb_reports_a_real_run(run) -> None:
    size = ["--batch", "2", "--prompt-tokens", "8", "--output-tokens", "4", "--repeats", "1"]
    code, out, err = run(
        "bench", "offline", "--model", str(smollm2()), "--max-context", "64", *size, "--json"
    )
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert report["result"]["decode_tok_s"] > 0 and report["result"]["peak_memory_bytes"] > 2**26
    assert report["weights_bytes"] == smollm2().stat().st_size
    assert report["command"][:3] == ["redline", "bench", "offline"]
    assert 0 < report["decode_bandwidth_share"] < 1
    metrics = report["subjects"][0]["metrics"]
    assert metrics["decode_tok_s"]["values"] == [report["result"]["decode_tok_s"]]
    assert metrics["decode_tok_s"]["high"] is None  # of one run


@pytest.mark.model
def test_a_named_workload_runs_without_a_server(run) -> None:
    flags = ["--model", str(smollm2()), "--max-context", "512", "--requests", "6", "--repeats", "1"]
    flags += ["--scale", "0.1", "--threads", "1"]
    code, out, err = run("bench", "offline", "--workload", "agent", *flags, "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    metrics = {name: each["mean"] for name, each in report["subjects"][0]["metrics"].items()}
    assert report["kind"] == "offline" and report["measured"]["workload"].startswith("agent ")
    assert 0.3 < metrics["cached_share"] < 1 and metrics["output_tok_s"] > 0


OFFLINE = ["offline", "--model", str(smollm2()), "--max-context", "512", "--threads", "1"]


@pytest.mark.model
@pytest.mark.parametrize(
    ("measured", "flags"),
    [
        ("redline.bench.offline._measure_pair", [*OFFLINE, "--prompt-tokens", "8", "--output-tokens", "4"]),
        (
            "redline.bench.offline_workload._run",
            [*OFFLINE, "--workload", "chat", "--requests", "1", "--scale", "0.1"],
        ),
        ("redline.bench.ops.seconds_per_call", ["ops", "--rows", "2", "--only", "sampling"]),
    ],
)
def test_ctrl_c_leaves_a_report_of_what_is_whole(
    run, monkeypatch: pytest.MonkeyPatch, measured, flags
) -> None:
    module, name = measured.rsplit(".", 1)
    true, calls = getattr(import_module(module), name), []

    def until_the_user_has_enough(*operands):
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(operands)
        return true(*operands)

    monkeypatch.setattr(measured, until_the_user_has_enough)
    code, out, _ = run("bench", *flags, "--repeats", "9", "--json")
    report = json.loads(out)
    assert code == 130 and report["interrupted"] and len(calls) == 3
    of_a_run = [each["values"] for each in report["subjects"][0]["metrics"].values()]
    assert {len(values) for values in of_a_run} == ({1} if "ops" in flags else {2})
    monkeypatch.setattr(measured, lambda *operands: (_ for _ in ()).throw(KeyboardInterrupt))
    assert run("bench", *flags, "--json")[:2] == (130, ""), "nothing is whole"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--against", "ollama"],
            "--against names 'ollama'; the peers are llama.cpp, openvino",
        ),
        (["--against", "openvino", "--cases", "speed"], "--cases names 'speed'; the cases are prefill,"),
        (["--against", "openvino", "--batch", "4"], "--batch has no effect with --against"),
        (["--against", "openvino", "--max-context", "64"], "--max-context cannot be set with --against"),
        (["--against", "openvino", "--mixed-requests", "0"], "--mixed-requests is 0"),
        (["--against", "openvino", "--max-isa", "sse"], "invalid choice: 'sse'"),
        (
            ["--against", "openvino", "--json", "/no/such/place/x.json"],
            "cannot be written",
        ),
        (["--against", "openvino", "--repeats", "0"], "--repeats is 0"),
        (["--against", "openvino", "--threads", "0"], "threads is 0"),
        (["--workload", "poem"], "--workload is 'poem'; the workloads are chat,"),
        (["--workload", "chat", "--batch", "2"], "--batch has no effect with --workload"),
        (["--scale", "3"], "--scale has no effect without --workload"),
        (["--requests", "3"], "--requests has no effect without --workload"),
        (["--cases", "prefill"], "--cases has no effect without --against"),
        (["--twins"], "--twins has no effect without --against"),
        (["--max-isa", "avx2"], "--max-isa has no effect without --against"),
    ],
)
def test_wrong_flags_of_a_comparison_are_refused_before_anything_starts(run, flags, message) -> None:
    code, out, err = run("bench", "offline", *flags)
    assert (code, out) == (2, "")
    assert message in err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--rows", "1,x"], "--rows has 'x'; each must be an integer between 1 and 4096"),
        (["--rows", "0"], "--rows has '0'"),
        (["--formats", "Q4_1,Q9"], "--formats has 'Q9'; the formats are all, F32,"),
        (["--repeats", "0"], "--repeats is 0"),
    ],
)
def test_wrong_flags_of_bench_ops_are_refused(run, flags, message) -> None:
    code, out, err = run("bench", "ops", *flags)
    assert (code, out) == (2, "")
    assert message in err


@pytest.mark.model
def test_bench_ops_reports_real_kernels(run, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("redline.bench.ceiling.BUFFER_BYTES", 1 << 22)
    file = tmp_path / "ops.json"
    flags = ["--rows", "1,2", "--only", "norm", "--repeats", "1", "--threads", "1", "--json", str(file)]
    code, out, err = run("bench", "ops", "--model", str(smollm2()), *flags)
    assert (code, err) == (0, "")
    report = json.loads(file.read_text())
    assert [(op["op"], op["rows"]) for op in report["ops"]] == [
        ("rmsnorm", 1), ("rmsnorm", 2),
    ]  # fmt: skip
    assert all(op["seconds"] > 0 and op["ceiling_s"] > 0 and op["bound"] == "memory" for op in report["ops"])
    lines = out.splitlines()
    assert lines[0].split() == ["op", "shape", "rows", "time", "GB/s", "GMAC/s", "of", "ceiling", "bound"]
    assert lines[1].split()[:3] == ["rmsnorm", "576", "1"] and "Ceiling: 1 threads" in out
