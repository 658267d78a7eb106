"""`redline batch` as users run it, on the real model."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.batch.batches import essence, line, results_of, write
from tests.model_file import smollm2

NAMES = ("cat", "river", "stone", "cloud", "tree")


@pytest.fixture
def files(tmp_path):
    return tmp_path / "in.jsonl", tmp_path / "out.jsonl"


def command(source, output, *more):
    model = ["--model", str(smollm2()), "--max-context", "256", "--max-batch", "2"]
    return [sys.executable, "-m", "redline.cli.main", "batch", str(source), str(output), *model, *more]


def question(name):
    messages = [{"role": "user", "content": f"What is a {name}?"}]
    return line(name, {"model": str(smollm2()), "messages": messages, "temperature": 0, "max_tokens": 8})


@pytest.mark.model
def test_what_is_killed_and_goes_on_ends_as_if_undisturbed(files, tmp_path):
    source, output = files
    write(source, [b"{", *map(question, NAMES)])
    with subprocess.Popen(command(source, output)) as process:
        deadline = time.monotonic() + 60
        while (
            not (output.exists() and len(output.read_bytes().splitlines()) > 1)
            and time.monotonic() < deadline
        ):
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    done = len(results_of(output))
    again = subprocess.run(command(source, output, "--json"), capture_output=True, check=False)
    assert (again.returncode, again.stderr) == (1, b"")  # for the first line
    summary = json.loads(again.stdout)
    assert (summary["total"], summary["skipped"], summary["failed_in_all"]) == (len(NAMES) + 1, done, 1)
    assert done >= 1 and summary["completed"] + summary["failed"] == len(NAMES) + 1 - done
    undisturbed = tmp_path / "undisturbed.jsonl"
    ended = subprocess.run(
        command(source, undisturbed, "--max-concurrency", "8"), capture_output=True, check=False, text=True
    )
    assert f"{len(NAMES) + 1} requests: {len(NAMES)} answered, 1 failed" in ended.stdout
    assert essence(output) == essence(undisturbed)


def test_what_cannot_be_run_is_told_before_a_model_is_loaded(run, files):
    source, output = files
    assert run("batch", str(source), str(output))[::2] == (
        2,
        f"redline: error: cannot read {source}: No such file or directory\n",
    )
    write(source, [b"{}"])
    for arguments, said in (
        ([str(source)], "both input and output"),
        ([str(source.parent)], "not a regular file"),
        ([str(output), "--max-concurrency", "0"], "max_concurrency is 0"),
        ([str(source.parent / "no" / "folder")], "cannot write"),
    ):
        code, out, err = run("batch", str(source), *arguments)
        assert (code, out) == (2, "") and said in err
