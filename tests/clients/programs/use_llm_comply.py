"""llm-comply, which holds answers against the published specifications of three APIs."""

import json
import subprocess
import sys
from pathlib import Path

from checks import KEY, MODEL, V1, check, main


def run(form, ids=()):
    """The results by test, of some tests or all."""
    options = ["--base-url", V1, "--api-key", KEY, "--model", MODEL, "--timeout", "90", "--json"]
    options += ["--filter", ",".join(ids)] if ids else []
    command = [Path(sys.executable).with_name("llm-comply"), "--format", form, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    return {test["id"]: test for test in json.loads(done.stdout)["results"]}


def comply(form):
    """Every test passes, but those of images: this server has none, and says so with a status of 400.

    Answers are sampled, and some go on to the end of the context: what fails gets another chance.
    """
    results = run(form)
    for _ in range(2):
        if failed := [each for each in results if not _passed(results[each])]:
            results.update(run(form, failed))
    for each, test in results.items():
        assert _passed(test), f"{each}: {'; '.join(test['errors'][:3])}"
    assert sum(test["status"] == "passed" for test in results.values()) >= 7, results


def _passed(test):
    no_images = test["id"].endswith("image-input") and test["errors"][:1] == ["HTTP 400 (expected [200])"]
    return test["status"] in ("passed", "skipped") or no_images


@check
def chat_completions():
    comply("openai-chat")


@check
def responses():
    comply("open-responses")


@check
def messages():
    comply("anthropic")


main()
