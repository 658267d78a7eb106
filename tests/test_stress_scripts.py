"""The scripts that put a real server under stress, each for a moment, so that they work when needed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.model

SCRIPTS = Path(__file__).parent.parent / "benchmarks"


@pytest.mark.parametrize(
    "name, options",
    [
        ("disconnects", ["--requests", "40"]),
        ("soak", ["--minutes", "0.01", "--warm-up", "5", "--fill", "5", "--growth", "9", "--clients", "3"]),
    ],
)
def test_a_moment_of_stress(tmp_path, name, options):
    out = tmp_path / "out.json"
    command = [sys.executable, str(SCRIPTS / f"{name}.py"), *options, "--json", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(out.read_text())
    assert told["environment"]["command"] and all(told["results"].values())
