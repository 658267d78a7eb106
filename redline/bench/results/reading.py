"""read_report(): a report from its file, if `redline bench compare` can do anything with it."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

from redline.errors import ConfigError

# Verbs whose reports have no runs of a number, and why.
WITHOUT_RUNS = {
    "redline ablate": "its numbers are ratios already, of two configurations that took turns in one run",
    "redline verify": "it says what holds, not how fast",
    "redline hardware": "a ceiling is the best of many passes, not a mean of runs",
    "redline profile": "it splits the time of one forward pass and has no repeats",
}
NAMED = 3  # words of a command that may be its verb


def read_report(path: Path) -> dict[str, Any]:
    """A document (results/document.py) with runs. Raises ConfigError that says why there are none."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        report = None
    if not _is_document(report):
        raise ConfigError(f"{path} cannot be compared: {_why_not(report)}")
    assert isinstance(report, dict)
    if not any(subject["metrics"] for subject in report["subjects"]):
        raise ConfigError(f"{path} cannot be compared: nothing in it was measured to its end")
    return report


def _is_document(report: Any) -> bool:
    try:
        metrics = [each for subject in report["subjects"] for each in subject["metrics"].values()]
        whole = all(each["values"] and each["better"] and each["title"] and each["unit"] for each in metrics)
        return bool(whole and report["kind"] and report["measured"] and report["environment"]["cpu"])
    except (KeyError, TypeError, AttributeError):
        return False


def _why_not(report: Any) -> str:
    verb = _verb(report)
    if verb is None:
        return "it is no report of redline bench (--json FILE)"
    for name, why in WITHOUT_RUNS.items():
        if verb == name or verb.startswith(name + " "):
            return f"it is of {name}, and {why}"
    return f"it is of a {verb} from before its reports could be; measure again"


def _verb(report: Any) -> str | None:
    """The words of its command before the first flag; None where it has no command of ours."""
    command = report.get("command") if isinstance(report, dict) else None
    if not isinstance(command, list) or not all(isinstance(word, str) for word in command):
        return None
    words = itertools.takewhile(lambda word: not word.startswith("-"), command[:NAMED])
    return " ".join(words) if command[:1] == ["redline"] else None
