from __future__ import annotations

import json
import os
import signal
import threading

import pytest

from redline.bench.file_cache import cached_share, forget
from redline.bench.serving.own_server import OwnServer
from redline.bench.startup import Starter, bench_startup, redline_starts
from redline.errors import ConfigError
from tests.bench.faulty_server import ANSWERS, FaultyServer
from tests.bench.test_answer import DONE, HEAD, token, usage
from tests.model_file import smollm2

FEW = ["--requests", "4", "--repeats", "2", "--concurrency", "2"]


@pytest.fixture(autouse=True)
def every_question_is_good(monkeypatch: pytest.MonkeyPatch) -> None:
    class Always(dict):
        def __missing__(self, key: str) -> list[bytes]:
            return [HEAD, token() + token() + usage(9, 2) + DONE]

    monkeypatch.setattr("tests.bench.faulty_server.ANSWERS", Always(ANSWERS))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def test_a_report_of_a_server_of_somebody_else(run, tmp_path) -> None:
    file, page = tmp_path / "a.json", tmp_path / "a.html"
    with FaultyServer() as server, FaultyServer(b'{"data": [{"id": "only"}]}') as other:
        code, out, err = run(
            "bench", "serve", "--base-url", server.url, "--model", "large", "--against", other.url, *FEW,
            "--slo", "ttft=60", "--json", str(file), "--html", str(page),
        )  # fmt: skip
    assert (code, err) == (0, "")
    report = json.loads(file.read_text())
    assert [(each["name"], each["model"]) for each in report["subjects"]] == [
        (server.url, "large"), (other.url, "only"),
    ]  # fmt: skip
    for subject in report["subjects"]:
        assert subject["num_done"] == 8 and subject["failures"] == {}
        assert len(subject["metrics"]["ttft_p50_s"]["values"]) == 2
        assert subject["metrics"]["good_share"]["mean"] == 1
        assert subject["usage"]["prompt_tokens"] == 72 and len(subject["requests"]) == 8
    assert report["measured"]["workload"].startswith("chat ") and report["command"][:2] == [
        "redline",
        "bench",
    ]
    assert "TTFT p99" in out and f"{other.url} beside {server.url}" in out and "Command: redline bench" in out
    assert page.read_text().startswith("<!doctype html>")
    # A warm-up, and the same texts for both.
    assert len(server.asked) == len(other.asked) == 2 * 4 + 2
    assert {body["messages"][-1]["content"] for body in server.asked} == {
        body["messages"][-1]["content"] for body in other.asked
    }
    assert "ignore_eos" not in server.asked[0]


def test_a_trace_is_replayed(run, tmp_path) -> None:
    trace = tmp_path / "t.csv"
    trace.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 18:15:46.68,37,4\nbad\n2023-11-16 18:15:46.78,12,3\n"
    )
    flags = ["--trace", "azure", str(trace), "--trace-speed", "4", "--repeats", "1", "--json"]
    with FaultyServer() as server:
        code, _, err = run("bench", "serve", "--base-url", server.url, "--model", "small", *flags)
        assert code == 2 and "1 bad lines: line 3: 1 columns instead of 3" in err
        code, out, _ = run(
            "bench", "serve", "--base-url", server.url, "--model", "small", *flags, "--skip-bad-lines"
        )
    report = json.loads(out)
    assert code == 0 and "1 bad lines left out (line 3" in report["intro"][0]
    assert report["subjects"][0]["requests"][1]["sent_s"] >= 0.02
    assert [body["max_tokens"] for body in server.asked[-2:]] == [4, 3]


def test_a_server_that_answers_nothing_well_gives_a_report_and_an_exit_code(run, monkeypatch) -> None:
    class Never(dict):
        def __missing__(self, key: str) -> list[bytes]:
            return ANSWERS["429"]

    monkeypatch.setattr("tests.bench.faulty_server.ANSWERS", Never())
    with FaultyServer() as server:
        code, out, err = run("bench", "serve", "--base-url", server.url, "--model", "small", *FEW)
    assert (code, err) == (1, "")
    assert "0 requests answered, 8 failed" in out and "Failed, HTTP 429: 8, Retry-After 0 s: full" in out


def test_ctrl_c_leaves_a_report(run, tmp_path) -> None:
    file = tmp_path / "a.json"
    with FaultyServer() as server:
        server.on_request = lambda: (
            os.kill(os.getpid(), signal.SIGINT) if len(server.asked) == 8 else None  # in the second run
        )
        code, out, _ = run(
            "bench", "serve", "--base-url", server.url, "--model", "small", *FEW, "--json", str(file)
        )
    report = json.loads(file.read_text())
    assert code == 130 and report["interrupted"] and "Interrupted by the user" in out
    assert report["subjects"][0]["num_done"] >= 4
    assert len(report["subjects"][0]["metrics"]["ttft_p50_s"]["values"]) == 1  # of the run that is whole


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model", "tiny"], "has no model 'tiny'; it has small, large"),
        ([], "--model must name one of the models of"),
        (["--model", "small", "--workload", "poem"], "workload is 'poem'"),
        (["--model", "small", "--slo", "fast=1"], "--slo names 'fast'"),
        (["--model", "small", "--burstiness", "2"], "--burstiness has no effect without --rate"),
        (["--model", "small", "--rate", "1", "--concurrency", "2"], "both say when requests come"),
        (["--model", "small", "--rate", "0"], "--rate is 0"),
        (["--model", "small", "--concurrency", "0"], "--concurrency is 0"),
        (["--model", "small", "--threads", "2"], "--threads has no effect on the server at --base-url"),
        (["--model", "small", "--extra-body", "[1]"], "--extra-body must be a JSON object"),
        (["--model", "small", "--server-pid", "99999999"], "there is no such process"),
        (["--model", "small", "--repeats", "0"], "--repeats is 0"),
        (["--model", "small", "--html", "/no/such/place/x.html"], "cannot be written"),
        (["--model", "small", "--stall-timeout", "0"], "--stall-timeout is 0"),
        (["--model", "small", "--trace", "azure", "x", "--workload", "chat"], "both say what is asked"),
        (["--model", "small", "--skip-bad-lines"], "--skip-bad-lines has no effect without --trace"),
        (["--model", "small", "--scale", "-1"], "scale is -1"),
        (["--model", "small", "--requests", "0"], "requests is 0"),
    ],
)
def test_wrong_flags_are_refused_before_any_load(run, flags, message) -> None:
    with FaultyServer() as server:
        code, out, err = run("bench", "serve", "--base-url", server.url, *flags)
    assert (code, out, server.asked) == (2, "", [])
    assert message in err


def test_no_server_no_key_wrong_key(run, monkeypatch) -> None:
    code, _, err = run("bench", "serve", "--base-url", "http://127.0.0.1:9", "--model", "m")
    assert code == 2 and "no server at http://127.0.0.1:9: Connect call failed" in err
    with FaultyServer(key="sk-right") as server:
        flags = ["bench", "serve", "--base-url", server.url, "--model", "small", *FEW, "--json"]
        assert "it wants an API key, which --api-key-env names a variable of" in run(*flags)[2]
        monkeypatch.setenv("MY_KEY", "sk-wrong")
        assert "it wants another API key" in run(*flags, "--api-key-env", "MY_KEY")[2]
        monkeypatch.setenv("OPENAI_API_KEY", "sk-right")
        # --json takes a value when one follows.
        code, out, _ = run(*flags)
    assert code == 0 and "sk-right" not in out


def test_a_server_without_a_list_of_models_is_believed(run) -> None:
    with FaultyServer(models=None) as server:
        assert run("bench", "serve", "--base-url", server.url, "--model", "any", *FEW)[0] == 0
        assert "has no list of models; --model must name one" in run(
            "bench", "serve", "--base-url", server.url, *FEW
        )[2]  # fmt: skip


def test_reports_are_compared(run, tmp_path) -> None:
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    with FaultyServer() as server:
        for seed, file in enumerate(files):
            flags = ["--model", "small", "--requests", "2", "--repeats", "4", "--seed", str(seed)]
            run("bench", "serve", "--base-url", server.url, *flags, "--json", str(file))
    code, out, err = run("bench", "compare", *map(str, files))
    assert (code, err) == (0, "")
    assert "b beside a" in out and "TTFT p50" in out and "workload: chat" in out
    code, out, _ = run("bench", "compare", str(files[0]), str(files[0]), "--json")
    assert {each["verdict"] for each in json.loads(out)["differences"][""]} == {"no difference shown"}
    assert json.loads(out)["unlike"] == []


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"kind": "serve", "subjects": []}', '{"subjects": [{}]}'])
def test_what_is_no_report_is_refused(run, tmp_path, text) -> None:
    file = tmp_path / "a.json"
    file.write_text(text)
    code, _, err = run("bench", "compare", str(file), str(file))
    assert code == 2 and "is no report of redline bench" in err
    assert "cannot read" in run("bench", "compare", str(tmp_path / "none.json"), str(file))[2]


@pytest.mark.model
def test_the_own_server_is_started_measured_and_ended(run) -> None:
    flags = [
        "--model",
        str(smollm2()),
        "--max-context",
        "512",
        "--scale",
        "0.1",
        "--requests",
        "3",
        "--threads",
        "1",
    ]
    code, out, err = run(
        "bench", "serve", *flags, "--repeats", "1", "--concurrency", "2", "--workload", "agent", "--json"
    )
    assert (code, err) == (0, "")
    report = json.loads(out)
    (subject,) = report["subjects"]
    assert (subject["name"], subject["num_done"], subject["failures"]) == ("redline", 6, {})
    assert subject["usage"]["doubts"] == {} and subject["usage"]["cached_tokens"] > 0
    tokens = [each["tokens"] for each in subject["requests"]]
    assert all(tokens) and sum(tokens) == subject["usage"]["output_tokens"]
    assert subject["cpu"]["server_cores"] > 0


def test_a_server_that_does_not_start_says_why() -> None:
    with (
        pytest.raises(ConfigError, match=r"the server did not start: .*no-such-model"),
        OwnServer(["--model", "/no-such-model.gguf"]),
    ):
        pass
    assert threading.active_count() < 50


@pytest.mark.model
def test_latency_of_a_real_engine(run) -> None:
    code, out, err = run(
        "bench", "latency", "--model", str(smollm2()), "--input-tokens", "8", "--output-tokens", "3",
        "--batch", "1,2", "--iterations", "1", "--repeats", "1", "--threads", "1", "--json",
    )  # fmt: skip
    assert (code, err) == (0, "")
    metrics = json.loads(out)["subjects"][0]["metrics"]
    assert len(metrics) == 2 * 3 * 3 and all(each["mean"] > 0 for each in metrics.values())
    cell = "8 in, 3 out, batch 2"
    assert metrics[f"{cell} e2e_p50_s"]["mean"] > metrics[f"{cell} ttft_p50_s"]["mean"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--batch", "0"], "--batch has '0'; each must be an integer between 1 and 64"),
        (["--output-tokens", "1"], "--output-tokens has '1'; each must be an integer above 1"),
        (["--iterations", "0"], "--iterations is 0"),
        (["--max-batch", "4"], "--max-batch cannot be set here"),
        (["--against", "ollama"], "--against names 'ollama'"),
    ],
)
def test_wrong_flags_of_latency_are_refused(run, flags, message) -> None:
    code, out, err = run("bench", "latency", *flags)
    assert (code, out) == (2, "") and message in err


@pytest.mark.model
def test_startup_of_a_real_engine() -> None:
    library, _ = redline_starts(smollm2(), {"max_context": 128}, [])
    starter = Starter(name="x", starts=[library], model=smollm2(), cold=False)
    bench_startup([starter], 1, lambda line: None)
    seconds = {name: each["mean"] for name, each in starter.metrics.items()}
    phases = ("python_s", "import_s", "load_s", "first_token_s")
    assert seconds["total_s"] == pytest.approx(sum(seconds[name] for name in phases))
    assert all(value > 0 for value in seconds.values()) and len(seconds) == 5
    assert "of the model's file was in memory" in starter.notes()[0]


def test_how_cold_a_start_was_is_said() -> None:
    cold = Starter(name="x", starts=[], model=smollm2(), cold=True, cached=[0.0, 0.4])
    assert "at most 40%" in cold.notes()[0] and "this was no cold start" in cold.notes()[0]
    cold.cached = [0.0]
    assert "no cold start" not in cold.notes()[0]
    cold.cached = [None]
    assert "does not tell" in cold.notes()[0]


def test_a_file_is_forgotten_and_that_is_seen(tmp_path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"x" * 2**22)
    assert cached_share(file) in (1.0, None)
    forget(file)
    share = cached_share(file)
    assert share is None or share <= 1.0  # a memory file system has nothing to forget


def test_wrong_flags_of_startup_are_refused(run) -> None:
    assert "invalid choice: 'hot'" in run("bench", "startup", "--file-cache", "hot")[2]
    assert "--repeats is 0" in run("bench", "startup", "--repeats", "0")[2]
