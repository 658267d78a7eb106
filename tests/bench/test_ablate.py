"""`redline ablate`: which pairs are measured, how ratios are made, what the reports say."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from redline.bench.ablate import ablation
from redline.bench.ablate.ablation import Settings, ablate, is_broken
from redline.bench.ablate.loads import LOADS
from redline.bench.ablate.pairs import Pair, pairs
from redline.bench.ablate.ratios import Ratio
from redline.bench.ablate.switches import BY_NAME, SWITCHES, best, plain, setup_of, with_needs
from redline.bench.peers.environments import PeerFailed
from redline.cli.main import main
from redline.config.engine import EngineConfig
from redline.errors import ConfigError
from redline.models.load import open_files
from redline.techniques import TECHNIQUES
from tests.model_file import smollm2

model = pytest.mark.model


def test_every_switch_names_techniques_loads_and_options_that_exist() -> None:
    known = {technique.name for technique in TECHNIQUES} | {"threads"}
    for switch in SWITCHES:
        assert set(switch.techniques) <= known
        assert set(switch.loads) <= set(LOADS) and set(switch.needs) <= set(BY_NAME)
        for options in (switch.on, switch.off):
            EngineConfig(model="m", **options)


def test_a_pair_differs_in_one_technique() -> None:
    for pair in pairs(["best", "plain"], [], []):
        on, off = pair.on.options, pair.off.options
        changed = {name for name in {*on, *off} if on.get(name) != off.get(name)}
        assert changed <= {*pair.switch.on, *pair.switch.off}, pair.switch.name
        assert changed or pair.on.variables != pair.off.variables
        for setup in (pair.on, pair.off):
            EngineConfig(model="m", **{**pair.load.options, **setup.options})


def test_the_plain_engine_has_none_of_them_and_the_best_has_all_that_always_pay() -> None:
    options = setup_of(plain()).options
    for name in ("kv_cache", "paged_cache", "prefix_cache", "flash_attention", "fusion", "graph_replay"):
        assert options[name] is False and setup_of(best()).options[name] is True
    assert (options["compute"], options["batching"], options["threads"]) == ("float", "static", 1)


def test_what_a_technique_needs_is_on_on_both_sides_of_its_plain_pair() -> None:
    [pair] = pairs(["plain"], ["prefix-reuse"], [])
    for setup in (pair.on, pair.off):
        assert setup.options["kv_cache"] and setup.options["paged_cache"]
    assert with_needs(["prefix-reuse"]) == {"prefix-reuse", "kv-cache", "paged-cache"}
    assert pair.small and pair.load.num_requests < LOADS["shared-prefix"].num_requests


@pytest.mark.parametrize("only, loads", [(["kv"], []), ([], ["decoding"]), (["kv-cache"], ["stall"])])
def test_names_that_do_not_exist_are_refused(only: list[str], loads: list[str]) -> None:
    with pytest.raises(ConfigError, match="--only|--workload"):
        pairs(["best"], only, loads)


def test_a_ratio_is_that_of_neighbouring_runs() -> None:
    rates = Ratio.of([20.0, 40.0, 90.0], [10.0, 10.0, 30.0], higher_is_better=True)
    assert (rates.median, rates.low, rates.high, rates.coverage) == (3.0, 2.0, 4.0, 0.75)
    assert Ratio.of([5.0], [10.0], higher_is_better=False).median == 2.0


@model
def test_loads_have_the_lengths_they_say() -> None:
    tokenizer = open_files(smollm2()).tokenizer
    for load in LOADS.values():
        for sized in (load, load.sized(small=True)):
            longest = sized.shared_tokens + sized.prompt_tokens * (3 if sized.copies else 1)
            longest += max(sized.output_tokens, sized.most_output)
            assert max(longest, sized.late_prompt_tokens + 1) <= sized.options["max_context"]
        asks = sized.asks(tokenizer, repeat=1)
        assert len(asks) == sized.num_requests + bool(sized.late_prompt_tokens)
        if not sized.copies:
            assert len(asks[0].prompt) == sized.shared_tokens + sized.prompt_tokens
    questions = LOADS["shared-prefix"]
    again, other = (questions.asks(tokenizer, repeat) for repeat in (1, 2))
    assert again == questions.asks(tokenizer, 1) and again != other
    assert again[0].prompt[:1000] == again[31].prompt[:1000] != other[0].prompt[:1000]


class FakeWorker:
    """Answers at once; `speed` by whether it has the K/V cache."""

    def __init__(self, command: Any, options: Any, variables: Any, timeout_s: float) -> None:
        self.fast = options["engine"]["kv_cache"]
        self.closed = False
        OPENED.append(self)

    def ask(self, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        value = 30.0 if self.fast else 1.0
        if INTERRUPT and len(OPENED) > 2:
            raise KeyboardInterrupt
        times = {"ttft_s": 0.1, "tpot_s": 1 / value, "kv_bytes": 2**20}
        return {**times, "value": value, "ids": [[1, 2], [3, int(bool(WRONG) and self.fast)]]}

    def peak_memory_bytes(self) -> int:
        return 2**28

    def close(self) -> None:
        self.closed = True


OPENED: list[FakeWorker] = []
INTERRUPT: list[bool] = []
WRONG: list[bool] = []


@pytest.fixture(autouse=True)
def faked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for each in (OPENED, INTERRUPT, WRONG):
        each.clear()  # type: ignore[attr-defined]
    if "real" not in request.node.name:
        monkeypatch.setattr(ablation, "Worker", FakeWorker)


def measured(chosen: list[Pair], repeats: int = 2) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    ablate(chosen, Settings(model="m", repeats=repeats, common={}, fidelity=False), rows, lambda *_: None)
    return rows


def test_a_row_has_both_sides() -> None:
    [row] = measured(pairs(["best"], ["kv-cache"], []))
    assert row["ratio"] == {"median": 30.0, "low": 30.0, "high": 30.0, "coverage": 0.5}
    assert (row["values_on"], row["values_off"]) == ([30.0, 30.0], [1.0, 1.0])
    assert (row["same_answers"], row["answers"]) == (4, 4) and not is_broken(row)
    assert all(worker.closed for worker in OPENED)


def test_an_exact_technique_that_changes_an_answer_is_broken() -> None:
    WRONG.append(True)
    [row] = measured(pairs(["best"], ["kv-cache"], []))
    assert row["same_answers"] == 2 and is_broken(row)


def test_a_configuration_that_fails_is_a_row_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise PeerFailed("no room")

    monkeypatch.setattr(ablation, "Worker", fail)
    [row] = measured(pairs(["best"], ["kv-cache"], []))
    assert row["failure"] == "no room" and not is_broken(row)


@model
def test_the_reports_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(tmp_path / name) for name in ("r.json", "r.md", "r.svg")]
    where = ["--json", files[0], "--markdown", files[1], "--plot", files[2]]
    assert main(["ablate", "--only", "kv-cache,paged-cache", "--repeats", "2", *where]) == 0
    said = capsys.readouterr().out
    assert "holds: kv-cache at least 20x on decode-1k, 30x" in said
    report = json.loads(Path(files[0]).read_text())
    assert [(row["start"], row["technique"]) for row in report["rows"]] == [
        ("best", "kv-cache"), ("best", "paged-cache"), ("plain", "kv-cache"), ("plain", "paged-cache")
    ]  # fmt: skip
    assert "| kv-cache | decode-1k | 1 tok/s | 30 tok/s | 30x |" in Path(files[1]).read_text()
    assert "![Payoff of each technique](r.svg)" in Path(files[1]).read_text()
    texts = [element.text for element in ET.parse(files[2]).iter() if element.text]
    assert texts.count("30x") == 2 and "off alone, from the best" in texts


@model
def test_ctrl_c_leaves_a_valid_partial_report(tmp_path: Path) -> None:
    INTERRUPT.append(True)
    file = tmp_path / "r.json"
    names = "kv-cache,paged-cache"
    assert main(["ablate", "--only", names, "--repeats", "1", "--json", str(file)]) == 130
    report = json.loads(file.read_text())
    assert report["interrupted"] and [row["technique"] for row in report["rows"]] == ["kv-cache"]
    assert all(worker.closed for worker in OPENED)


@pytest.mark.parametrize(
    "flags, said",
    [
        (["--repeats", "0"], "--repeats is 0"),
        (["--only", "nothing"], "--only has 'nothing'"),
        (["--threads", "0"], "threads is 0"),
        (["--json", "/no/such/folder/r.json"], "there is no directory"),
    ],
)
def test_wrong_flags_are_refused(flags: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ablate", *flags]) == 2
    assert said in capsys.readouterr().err


@model
def test_one_thread_is_not_compared_with_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ablate", "--threads", "1", "--only", "threads"]) == 2
    assert "one thread on both sides" in capsys.readouterr().err
    assert main(["ablate", "--threads", "1", "--only", "threads,fused-norm", "--list"]) == 0
    assert "threads" not in capsys.readouterr().out


@model
def test_a_failed_configuration_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise PeerFailed("no room")

    monkeypatch.setattr(ablation, "Worker", fail)
    assert main(["ablate", "--only", "kv-cache", "--start", "best"]) == 1


@model
def test_real_plain_engines_are_compared_by_their_predictions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablation, "FEW_TOKENS", 24)
    [pair] = pairs(["plain"], ["flash-attention"], [])
    rows: list[dict[str, Any]] = []
    ablate([pair], Settings(model=str(smollm2()), repeats=1, common={}), rows, lambda *_: None)
    fidelity = rows[0]["fidelity"]
    assert fidelity["num_tokens"] == 12 and 0 < abs(fidelity["mean_kl"]) < 1e-4


@model
def test_real_processes_measure_and_give_the_same_bits() -> None:
    [pair] = pairs(["best"], ["graph-replay"], [])
    rows: list[dict[str, Any]] = []
    ablate([pair], Settings(model=str(smollm2()), repeats=1, common={}), rows, lambda *_: None)
    assert rows[0]["failure"] is None
    assert rows[0]["same_answers"] == rows[0]["answers"] == 1
    assert min(rows[0]["peak_memory_bytes_on"], rows[0]["kv_bytes_on"]) > 0


@model
@pytest.mark.parametrize("lines", [0, 1])
def test_a_real_ctrl_c_leaves_every_report(lines: int, tmp_path: Path) -> None:
    """A real process and signal, before the first pair is whole or after it."""
    files = [tmp_path / name for name in ("r.json", "r.md", "r.svg", "workers")]
    command = [sys.executable, "-c", PROGRAM.format(lines=lines, workers=files[3]), "ablate"]
    command += ["--model", str(smollm2()), "--start", "plain", "--only", "graph-replay,jump-ahead", "--quick"]
    command += ["--json", str(files[0]), "--markdown", str(files[1]), "--plot", str(files[2])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 130, done.stderr
    report = json.loads(files[0].read_text())
    assert report["interrupted"] and len(report["rows"]) == lines
    assert "Interrupted by the user" in files[1].read_text() and "Interrupted by the user" in done.stdout
    ET.parse(files[2])
    pids = files[3].read_text().split()
    assert len(pids) == 2 + 2 * lines and not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


PROGRAM = """
import os, signal, sys
from redline.bench.ablate import ablation
from redline.cli.main import main

true, opened = ablation.Worker._line, []

def line(self, deadline_s):
    if self not in opened:  # it is being opened
        opened.append(self)
        with open("{workers}", "a") as file:
            file.write(f"{{self._process.pid}} ")
        if len(opened) == 2 + 2 * {lines}:
            os.kill(os.getpid(), signal.SIGINT)
    return true(self, deadline_s)

ablation.Worker._line = line
sys.exit(main(sys.argv[1:]))
"""
