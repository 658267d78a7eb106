"""Nothing on the CPU path imports torch, and starting up imports next to nothing.

Each test runs a fresh interpreter, because what one import drags in is seen only there.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from tests.model_file import smollm2

# What must not be loaded before there is work for it. "redline.errors" and its like are cheap.
HEAVY = {
    "torch", "transformers", "numpy", "ml_dtypes", "tokenizers", "safetensors", "gguf", "huggingface_hub",
    "jinja2", "rich", "pydantic", "starlette", "uvicorn", "prometheus_client", "httpx", "asyncio",
    "llguidance",
}  # fmt: skip
BLOCK = "import sys; sys.modules.update({'torch': None, 'transformers': None})\n"
REPORT = "\nimport json, sys; print(json.dumps(sorted(sys.modules)))"


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded_after(code: str) -> set[str]:
    output = run_python(code + REPORT)
    return set(json.loads(output.splitlines()[-1]))


def command(*argv: str) -> str:
    """Code that runs the command line in process and swallows its exit."""
    return f"from redline.cli.main import main\ntry:\n    main({list(argv)!r})\nexcept SystemExit:\n    pass"


@pytest.mark.parametrize(
    "code",
    [
        "import redline",
        command("--help"),
        command("--version"),
        command("generate", "--help"),
        command("serve", "--help"),
        command("chat", "--help"),
        command("pull", "--help"),
        command("bench", "offline", "--help"),
        command("techniques"),
        command("techniques", "--json"),
        command("no-such-verb"),
        command("generate", "hello", "--threads", "0"),
        command("generate", "hello", "--temperature", "-1"),
    ],
    ids=lambda code: " ".join(re.findall(r"'(.*?)'", code)) or code,
)
def test_starting_up_imports_nothing_heavy(code: str) -> None:
    assert loaded_after(code) & HEAVY == set()


def test_naming_a_public_class_is_what_loads_it() -> None:
    assert "numpy" not in loaded_after("import redline; redline.SamplingParams(); dir(redline)")
    assert "numpy" in loaded_after("from redline import LLM")


@pytest.mark.parametrize(
    "module",
    ["errors", "env", "techniques", "config.engine", "config.resolve", "core.scheduler", "models.spec"],
)
def test_the_brain_imports_no_arrays(module: str) -> None:
    assert loaded_after(f"import redline.{module}") & {"numpy", "torch"} == set()


@pytest.mark.model
def test_text_is_generated_with_torch_blocked() -> None:
    code = f"""{BLOCK}
from redline import LLM, SamplingParams
llm = LLM({str(smollm2())!r}, max_context=256)
[output] = llm.generate(["The capital of France is"], SamplingParams(max_tokens=4, temperature=0.0))
print(repr(output.text))"""
    assert "Paris" in run_python(code)


@pytest.mark.model
def test_a_generation_without_a_form_loads_no_grammar_engine() -> None:
    code = f"from redline import LLM\nLLM({str(smollm2())!r}, max_context=64).generate('a')"
    assert "llguidance" not in loaded_after(code)
