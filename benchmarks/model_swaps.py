#!/usr/bin/env python3
"""Several models that do not fit together, behind one server: what swaps cost, and that they change nothing.

    .venv/bin/python benchmarks/model_swaps.py

SmolLM2 and two models of its vocabulary with random weights (`--mib` each) get `--requests` in turn from 24
clients, with room for one model, for two, and for all. `failed` and `different` (from the answers of all
three in memory, with nobody beside) must be 0; `most MiB` is the most that the process held, sampled. Then
one client streams from SmolLM2 while another model is loaded: the gaps between its pieces of text before
that, and during.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.model_file import smollm2
from tests.models.shaped_gguf import write_shaped_gguf

CLIENTS = 24
NAMES = ("smollm2", "second", "third")
OPTIONS = ("--max-context", "1024", "--max-batch", "32", "--kv-memory", "64MiB", "--port", "0")


@contextmanager
def served(models: list[str], *flags: str) -> Iterator[tuple[str, int]]:
    """The URL of a server, and its process id."""
    command = [sys.executable, "-m", "redline.cli.main", "serve", *models, *OPTIONS, *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
        assert child.stdout is not None
        try:
            yield child.stdout.readline().split()[3], child.pid
        finally:
            child.terminate()


def post(url: str, model: str, **fields: Any) -> Any:
    """The open answer to a completion."""
    body = json.dumps({"model": model, "temperature": 0, **fields}).encode()
    request = urllib.request.Request(f"{url}/v1/completions", body, {"content-type": "application/json"})
    return urllib.request.urlopen(request, timeout=600)


def text_of(url: str, number: int) -> str | None:
    """What request `number` is answered; None: it failed."""
    prompt = f"{number}. Once upon a time there was a small red house."
    try:
        with post(url, NAMES[number % len(NAMES)], prompt=prompt, max_tokens=8) as answer:
            return str(json.load(answer)["choices"][0]["text"])
    except OSError:
        return None


def rss_mib(pid: int) -> float:
    """What a process holds."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def num_loads(url: str) -> int:
    """How often any model was loaded."""
    with urllib.request.urlopen(f"{url}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return sum(int(float(line.split()[1])) for line in lines if "model_load_seconds_count" in line)


def storm(models: list[str], room: int, expected: list[str | None]) -> str:
    """One row of the table."""
    over, sizes = threading.Event(), []
    with served(models, "--max-models", str(room)) as (url, pid), ThreadPoolExecutor(CLIENTS + 1) as pool:

        def sample() -> None:
            while not over.wait(0.05):
                sizes.append(rss_mib(pid))

        pool.submit(sample)
        start_s = time.perf_counter()
        texts = list(pool.map(lambda number: text_of(url, number), range(len(expected))))
        seconds = time.perf_counter() - start_s
        over.set()
        loads = num_loads(url)
    failed = texts.count(None)
    different = sum(text != right for text, right in zip(texts, expected, strict=True)) - failed
    return f"| {room} | {failed} | {different} | {loads} | {seconds:.1f} | {max(sizes):.0f} |"


def gaps_s(models: list[str]) -> tuple[list[float], list[float]]:
    """Between pieces of a stream, before another model is loaded, and while it is."""
    with served(models) as (url, _), ThreadPoolExecutor(1) as pool:
        times = []
        loading: Any = None
        with post(url, NAMES[0], prompt="Once", max_tokens=900, ignore_eos=True, stream=True) as stream:
            for line in stream:
                if not line.startswith(b"data: {"):
                    continue
                times.append(time.perf_counter())
                if len(times) == 100:
                    loading = pool.submit(text_of, url, 1)
                if loading is not None and loading.done():
                    break
    gaps = [after - before for before, after in zip(times, times[1:], strict=False)]
    return gaps[:99], gaps[99:]


def show(line: str) -> None:
    """At once: it takes a while."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """Write models, run, show."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mib", type=int, default=200, help="about what a model with random weights takes")
    parser.add_argument("--requests", type=int, default=200, help="of all models together")
    args = parser.parse_args()
    layers = max(1, (args.mib - 50) // 13)
    with tempfile.TemporaryDirectory() as folder:
        models = [f"{NAMES[0]}={smollm2()}"]
        for number, name in enumerate(NAMES[1:]):
            path = Path(folder) / f"{name}.gguf"
            shape = {"hidden": 1024, "ffn": 2816 + 32 * number, "heads": 16, "kv_heads": 4}
            write_shaped_gguf(path, smollm2(), layers=layers, **shape)
            models.append(f"{name}={path}")
        with served(models) as (url, _):
            expected = [text_of(url, number) for number in range(args.requests)]
        show("| room | failed | different | loads | s | most MiB |\n|---|---|---|---|---|---|")
        for room in (3, 2, 1):
            show(storm(models, room, expected))
        before, during = gaps_s(models)
    for what, gaps in (("before", before), ("during", during)):
        median_ms, most_ms = 1e3 * statistics.median(gaps), 1e3 * max(gaps)
        show(f"gaps {what} a load: median {median_ms:.1f} ms, most {most_ms:.0f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
