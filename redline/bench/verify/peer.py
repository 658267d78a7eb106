"""What transformers, a peer that shares no code with Redline, makes of a text: in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from redline import env
from redline.bench.peers.environments import MARK
from redline.bench.peers.process import WORKERS
from redline.bench.peers.registry import PEERS
from redline.ops.arrays import F32

WORKER = WORKERS / "transformers_logits_worker.py"
TIMEOUT_S = 600.0
LONGEST_REASON = 200
NEEDED = ("torch", "transformers")
MISSING = (
    "transformers is not installed; `pip install torch transformers gguf` beside Redline, or "
    "`redline bench offline --against transformers`, brings it"
)


class PeerCannot(Exception):
    """There is no such peer here, or it cannot open the model. The message is the reason."""


def transformers_python() -> str:
    """A Python that has transformers: this one, or that of the peer's environment. Raises PeerCannot."""
    if all(importlib.util.find_spec(name) for name in NEEDED):
        return sys.executable
    directory = env.cache_dir() / "peers" / PEERS["transformers"].directory("native")
    if (directory / MARK).exists():
        return str(directory / "bin" / "python")
    raise PeerCannot(MISSING)


def transformers_logits(model: Path, ids: list[int], first: int, threads: int) -> F32:
    """Float32 logits [T, vocabulary] of the positions of a text from `first` on. Raises PeerCannot."""
    python = transformers_python()
    with tempfile.TemporaryDirectory(prefix="redline-verify-") as folder:
        path = Path(folder) / "logits.npy"
        options = {"model": str(model), "ids": ids, "first": first, "threads": threads, "path": str(path)}
        command = [python, str(WORKER), json.dumps(options)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PeerCannot(f"transformers did not answer: {error}"[:LONGEST_REASON]) from None
        if done.returncode or not path.exists():
            said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            reason = said[-1] if said else f"exit code {done.returncode}"
            raise PeerCannot(f"transformers cannot run it: {reason[:LONGEST_REASON]}")
        logits_TV: F32 = np.load(path)
        return logits_TV
