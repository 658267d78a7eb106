"""The clients that the development environment has, and what runs them."""

import sys
from pathlib import Path

import pytest

from tests.clients.__main__ import choose, main, summary
from tests.clients.catalogue import CLIENTS, QUICK, Client
from tests.clients.environments import PROGRAMS, Development
from tests.clients.run import Check, Report, run_client
from tests.clients.server_process import Address

NOBODY = Address("http://127.0.0.1:9", "m", "k", "l")


@pytest.mark.model
def test_the_clients_of_the_development_environment_pass(capsys):
    assert main(["--quick"]) == 0, capsys.readouterr().out
    out = capsys.readouterr().out
    assert out.startswith("ok   openai ") and "\nok   anthropic " in out


class Script(Development):
    """A program that is given as text."""

    def command(self, folder: Path, program: str) -> list[str]:
        return [sys.executable, "-c", program]


PASSED = """print('{"check": "chat", "seconds": 0.5, "reason": null}')"""
FAILED = """print('noise\\n{"check": "chat", "seconds": 0.5, "reason": "no Paris"}'); raise SystemExit(1)"""


@pytest.mark.parametrize(
    "program, told",
    [
        (PASSED, None),
        (FAILED, "chat: no Paris"),
        (PASSED + "\nraise OSError('late')", "exit code 1: OSError: late"),
        ("import not_there", "exit code 1: ModuleNotFoundError: No module named 'not_there'"),
        ("pass", "it checked nothing"),
        ("import time; time.sleep(60)", "still running after 1 s"),
    ],
)
def test_a_failure_is_told_in_a_line(program, told, tmp_path):
    client = Client("c", program, Script(("pytest",)), timeout_s=1 if "sleep" in program else 30)
    report = run_client(client, NOBODY, tmp_path)
    assert report.passed == (told is None)
    assert told is None or summary(report).splitlines()[-1].strip() == told


def test_a_summary_counts():
    report = Report("c", "1.0", [Check("a", 1.0, None), Check("b", 2.0, "why")])
    assert summary(report).splitlines() == ["FAIL c 1.0: 1 of 2 checks in 3 s", "     b: why"]


def test_clients_are_chosen_by_name():
    assert [client.name for client in choose(["llm", "anthropic", "llm"], CLIENTS)] == ["llm", "anthropic"]
    assert choose([], QUICK) == list(QUICK)
    with pytest.raises(ValueError, match="nope"):
        choose(["nope"], CLIENTS)
    assert main(["nope"]) == 2


def test_every_client_has_a_program_and_a_name_of_its_own():
    assert len({client.name for client in CLIENTS}) == len(CLIENTS)
    assert all((PROGRAMS / client.program).exists() for client in CLIENTS)
