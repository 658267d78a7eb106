from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from redline.cli import generate
from redline.cli.main import VERBS, main
from redline.errors import ModelNotFound


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["generat"], "did you mean 'generate'?"),
        (["xyzzy"], "choose one of generate"),
        (["generate", "--top-k", "many"], "invalid int value: 'many'"),
        (["generate", "hi", "--temperature", "-1"], "temperature is -1.0"),
        (["generate", "hi", "--max-batch", "0"], "max_batch is 0"),
        (["generate", "hi", "--kv-memory", "lots"], "kv_memory is 'lots'"),
        (["generate", "hi", "--chunked-prefill", "some"], "neither an integer nor none"),
        (["generate", "hi", "--chat", "--raw"], "not allowed with"),
        (["generate", ""], "prompt is empty"),
        (["bench", "offline", "--batch", "0"], "batch is 0"),
        (["techniques", "prefix"], "did you mean 'prefix-reuse'?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_user_error_is_one_line_and_exit_code_2(run, argv: list[str], message: str) -> None:
    code, out, err = run(*argv)
    assert (code, out) == (2, "")
    assert err.startswith("redline: error: ") and err.count("\n") == 1
    assert message in err


def test_an_error_with_line_breaks_is_still_one_line(run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(args, **options):
        raise ModelNotFound("first\n   second")

    monkeypatch.setattr(generate, "open_llm", fail)
    assert run("generate", "hi") == (2, "", "redline: error: first second\n")


def test_interrupt_exits_130_without_a_traceback(run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(generate, "open_llm", interrupt)
    assert run("generate", "hi") == (130, "", "")


def test_a_bug_is_not_disguised_as_a_user_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(args, **options):
        raise ZeroDivisionError

    monkeypatch.setattr(generate, "open_llm", bug)
    with pytest.raises(ZeroDivisionError):
        main(["generate", "hi"])


def test_a_reader_that_leaves_early_causes_no_complaint() -> None:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "redline.cli.main", "techniques", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.wait(timeout=60) == 141
    assert process.stderr.read() == b""
    process.stderr.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_reported_in_one_line() -> None:
    command = [sys.executable, "-P", "-m", "redline.cli.main", "techniques"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == "redline: error: cannot write the output: No space left on device\n"


@pytest.mark.parametrize(
    ("command", "code"), [("generate <&-", 2), ("techniques >&-", 0), ("generate '' 2>&-", 2)]
)
def test_a_closed_stream_is_an_empty_one(command: str, code: int) -> None:
    line = f'exec "{sys.executable}" -P -m redline.cli.main {command}'
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60)
    assert done.returncode == code and "Traceback" not in done.stderr


def test_help_lists_every_verb(run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert all(f"  {verb} " in out for verb in VERBS)


def test_no_arguments_shows_the_help_and_fails(run) -> None:
    code, out, _ = run()
    assert code == 2 and "verbs:" in out
