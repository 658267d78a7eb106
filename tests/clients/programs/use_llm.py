"""llm, the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

from checks import CAPITAL, KEY, MODEL, V1, check, main

QUESTION = CAPITAL[0]["content"]
MODELS = f"""
- model_id: here
  model_name: {MODEL}
  api_base: {V1}
  api_key_name: here
  supports_schema: true
  supports_tools: true
- model_id: other
  model_name: gpt-7
  api_base: {V1}
  api_key_name: here
"""
home = Path("llm-home")
home.mkdir(exist_ok=True)
(home / "extra-openai-models.yaml").write_text(MODELS)
(home / "keys.json").write_text(json.dumps({"here": KEY}))


def llm(*arguments, code=0):
    """What the command prints."""
    command = [Path(sys.executable).with_name("llm"), *arguments]
    environment = {**os.environ, "LLM_USER_PATH": str(home)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, done.stderr[-300:]
    return done.stdout + done.stderr


@check
def models():
    assert "here" in llm("models")


@check
def prompt():
    options = ("-m", "here", "-o", "temperature", "0", "-o", "max_tokens", "32")
    streamed = llm(*options, QUESTION)
    assert "Paris" in streamed
    assert llm(*options, "--no-stream", QUESTION) == streamed
    counts = llm(*options, "--usage", QUESTION)
    assert "Token usage" in counts
    assert "Paris" in llm("logs", "-n", "1")


@check
def conversation():
    options = ("-o", "temperature", "0", "-o", "max_tokens", "32")
    llm("-m", "here", *options, QUESTION)
    assert llm("-c", *options, "What did I ask?").strip()


@check
def schema():
    options = ("-m", "here", "-o", "temperature", "0", "-o", "max_tokens", "96", "--no-stream")
    shape = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 30}, "size": {"enum": ["small", "large"]}},
        "required": ["city", "size"],
        "additionalProperties": False,
    }
    answer = json.loads(llm(*options, "--schema", json.dumps(shape), QUESTION))
    assert answer.keys() == {"city", "size"}


@check
def errors():
    assert "gpt-7" in llm("-m", "other", QUESTION, code=1)
    assert "temperature" in llm("-m", "here", "-o", "temperature", "2.5", QUESTION, code=1)


main()
