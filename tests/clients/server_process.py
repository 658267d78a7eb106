"""server_process: one real server with SmolLM2, in a process of its own, on a free port."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from redline.models.gguf_file import GGUFFile
from redline.models.tokenizer_gguf import parts_from_gguf
from tests.model_file import smollm2

KEY, LIMITED_KEY = "sk-clients-all", "sk-clients-one"
KEYS = f"{KEY} name=all\n{LIMITED_KEY} name=one max_requests=1\n"
FLAGS = ("--port", "0", "--max-context", "3072", "--tool-call-parser", "hermes", "--tokenizer-info")
STOP_TIMEOUT_S = 60


class Address(NamedTuple):
    """What a program needs to know of the server."""

    url: str
    model: str
    key: str
    limited_key: str


@contextmanager
def server_process() -> Iterator[Address]:
    """The server runs inside the block; leaving it asks for a clean end."""
    with tempfile.TemporaryDirectory(prefix="redline-keys-") as folder:
        keys = Path(folder, "keys")
        keys.touch(0o600)
        keys.write_text(KEYS)
        log = Path(folder, "log")
        command = [sys.executable, "-m", "redline.cli.main", "serve", "--model", "smollm2"]
        with (
            log.open("w") as errors,
            subprocess.Popen(
                [*command, *FLAGS, "--api-keys-file", str(keys)],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            ) as process,
        ):
            try:
                yield Address(_url(process, log), "smollm2", KEY, LIMITED_KEY)
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(STOP_TIMEOUT_S)


def _url(process: subprocess.Popen[str], log: Path) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if match := re.search(r"http://[\d.:]+", line):
            return match[0]
    raise RuntimeError(f"the server did not start: {log.read_text()[-500:]}")


def write_tokenizer(folder: Path) -> None:
    """The model's tokenizer in the files of transformers, for clients that count tokens themselves."""
    backend = parts_from_gguf(GGUFFile(smollm2()).metadata).backend
    backend.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "model_max_length": 2048,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
