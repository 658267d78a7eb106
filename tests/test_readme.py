"""The README is true: its example runs, its commands work, the files it names exist."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.model_file import smollm2

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
REDLINE = [sys.executable, "-P", "-m", "redline.cli.main"]  # what scripts/redline runs once it is installed


def blocks(language: str) -> list[str]:
    """The contents of the fenced blocks marked with `language`."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.S | re.M)


def commands() -> list[list[str]]:
    """Every command of the shell blocks in words. One whose quotes are open goes on in the next line."""
    found, pending = [], ""
    for line in "".join(blocks("sh")).splitlines():
        pending += f"{line}\n"
        try:
            words = shlex.split(pending)
        except ValueError:
            continue
        found.append(words)
        pending = ""
    assert not pending, f"open quotes in {pending!r}"
    return found


COMMANDS = commands()
RUNNABLE = [words for words in COMMANDS if words[0] == "scripts/redline" and words[1] != "serve"]


@pytest.fixture(scope="module")
def model() -> None:
    """The default model is in the cache."""
    smollm2()


def test_the_two_commands_come_first() -> None:
    assert COMMANDS[:2] == [["scripts/redline", "generate", "Why is the sky blue?"], ["scripts/test"]]


def test_every_command_is_one_that_this_file_checks() -> None:
    rest = [words for words in COMMANDS if words not in RUNNABLE]
    assert [words[0] for words in rest] == ["scripts/test", "scripts/redline", "curl"]
    assert all((ROOT / words[0]).is_file() for words in COMMANDS if words[0].startswith("scripts/"))


@pytest.mark.parametrize("path", re.findall(r"`([\w./]+\.(?:py|md|h|cpp))`", README))
def test_files_that_are_named_exist(path: str) -> None:
    assert (ROOT / path).is_file()


def test_the_python_example_is_about_ten_lines() -> None:
    [example] = blocks("python")
    assert len([line for line in example.splitlines() if line.strip()]) <= 10


@pytest.mark.model
@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("words", RUNNABLE, ids=lambda words: " ".join(words[1:3]))
def test_commands_run(words: list[str]) -> None:
    done = subprocess.run([*REDLINE, *words[1:]], capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.model
@pytest.mark.usefixtures("model")
def test_the_python_example_prints_what_the_readme_shows() -> None:
    [example] = blocks("python")
    done = subprocess.run([sys.executable, "-P", "-c", example], capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    shown = README.split(example)[1].split("```")[2].strip().splitlines()
    printed = done.stdout.strip().splitlines()
    assert len(printed) == len(shown)
    # Greedy answers are the same on every run of one machine; instruction sets round differently.
    assert printed[0].split()[:4] == shown[0].split()[:4]
    assert printed[-1].startswith("time to first token: ")


@pytest.mark.model
@pytest.mark.usefixtures("model")
def test_curl_gets_an_answer_from_the_server() -> None:
    serve = next(words for words in COMMANDS if words[:2] == ["scripts/redline", "serve"])
    curl = next(words for words in COMMANDS if words[0] == "curl")
    options = [word if word != "8000" else "0" for word in serve[1:]]
    with subprocess.Popen([*REDLINE, *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        try:
            assert server.stdout is not None
            base = re.search(rb"http://\S+", server.stdout.readline())
            assert base, "the server says where it listens"
            answer = _post(curl, base[0].decode())
            assert "Paris" in answer["choices"][0]["message"]["content"]
        finally:
            server.terminate()
        assert server.wait(timeout=60) == 0


def _post(curl: list[str], base: str) -> dict:
    """Send what the curl command sends, to the server at `base`."""
    url = curl[1].replace("http://127.0.0.1:8000", base)
    name, value = curl[curl.index("-H") + 1].split(": ")
    body = curl[curl.index("-d") + 1].encode()
    json.loads(body)
    request = urllib.request.Request(url, data=body, headers={name: value})
    with urllib.request.urlopen(request, timeout=120) as response:
        return json.load(response)
