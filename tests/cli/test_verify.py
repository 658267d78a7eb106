"""The verb `redline verify`: its lines, exit codes and reports, whole and interrupted."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from redline.bench.verify.outcome import Check, Outcome, Verdict
from redline.cli.main import main
from redline.cli.verify import line
from tests.model_file import smollm2

model = pytest.mark.model


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


@model
def test_a_run_that_compares_nothing_fails(
    planted: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    planted("skipped")
    assert main(["verify"]) == 1
    assert "Nothing was compared" in capsys.readouterr().out


@model
def test_ctrl_c_leaves_the_checks_that_are_done(tmp_path: Path) -> None:
    """A real process, a real signal."""
    file = tmp_path / "verify.json"
    command = [sys.executable, "-m", "redline.cli.main", "verify", "--model", str(smollm2())]
    command += ["--only", "seeds,number of threads,kv-cache", "--json", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert " seeds " in process.stdout.readline() + process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert process.returncode == 130
    report = json.loads(file.read_text())
    done = [outcome["name"] for outcome in report["outcomes"]]
    assert report["interrupted"] and "seeds" in done and "kv-cache" not in done
    assert f"{len(done)} of 3 checks" in rest


@pytest.mark.parametrize("columns", [80, 120])
def test_lines_fit_the_terminal(columns: int) -> None:
    for name in ("seeds", "transformers against integer kernels"):
        one = Outcome(name=name, promise="tolerance", status="broken", detail="a word " * 40, seconds=1.0)
        lines = line(one, 36, columns).splitlines()
        assert len(lines) > 2 and max(map(len, lines)) <= columns
        assert sum(each.count("word") for each in lines) == 40


@model
def test_lines_go_into_a_pipe_though_errors_go_to_a_terminal() -> None:
    """As in `redline verify | tee log`, where the status line takes sys.stdout over."""
    command = [sys.executable, "-m", "redline.cli.main", "verify", "--model", str(smollm2())]
    ours, theirs = pty.openpty()
    with subprocess.Popen([*command, "--only", "medusa-heads"], stdout=subprocess.PIPE, stderr=theirs) as it:
        assert it.stdout is not None
        said = it.stdout.read().decode()
    os.close(ours)
    os.close(theirs)
    assert "exact      medusa-heads" in said
