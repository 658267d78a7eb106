#!/usr/bin/env python3
"""Requests that follow the server's own OpenAPI document, and ones that break it, against the real server.

    scripts/fuzz-server --examples 10000 --json out.json --markdown out.md

schemathesis makes them (phases: examples, coverage, fuzzing; positive and negative). No answer may be a
failure of the server, show its inside, differ from the document, or come late; a canary, a fixed chat, must
be answered with the same bytes after every --canary-every requests; and a victim with a fixed seed, asked
over and over beside them, must get the same bytes each time. In the end the server is the same process, idle,
with all blocks free.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from results import Row, add_arguments, report
from served import COMPLETIONS, MODEL, Served, serving

HERE = Path(__file__).parent
VICTIM = {"model": MODEL, "prompt": "Once upon a time", "max_tokens": 16, "seed": 7, "logprobs": 1}
CHECKS = (
    "harms_nobody,not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_schema_conformance,negative_data_rejection"
)
OPTIONS = ("--max-context", "128", "--max-batch", "8", "--kv-memory", "64MiB", "--tokenizer-info")


class Victim(threading.Thread):
    """Asks the same question until it is told to stop."""

    def __init__(self, server: Served) -> None:
        super().__init__(daemon=True)
        self._server = server
        self._expected = server.words(COMPLETIONS, VICTIM)
        self._over = threading.Event()
        self.answers: Counter[str] = Counter()

    def run(self) -> None:
        while not self._over.wait(0.2):
            try:
                same = self._server.words(COMPLETIONS, VICTIM) == self._expected
                self.answers["same" if same else "different"] += 1
            except (AssertionError, OSError) as error:
                self.answers[repr(error)[:200]] += 1

    def stop(self) -> None:
        self._over.set()
        self.join(60)


def num_operations(server: Served) -> int:
    """Those that have something to be made up: the rest takes a handful of requests."""
    paths = json.loads(server.ask("GET", "/openapi.json")[1])["paths"]
    return sum(
        "requestBody" in operation or "parameters" in operation
        for path in paths.values()
        for operation in path.values()
    )


def fuzz(server: Served, args: argparse.Namespace, told: Path) -> int:
    environment = {
        **os.environ,
        "SCHEMATHESIS_HOOKS": "fuzz_checks",
        "PYTHONPATH": str(HERE),
        "FUZZ_URL": server.url,
        "FUZZ_CANARY_EVERY": str(args.canary_every),
        "FUZZ_REPORT": str(told),
    }
    each = max(1, args.examples // num_operations(server))
    command = [
        args.schemathesis,
        "run",
        f"{server.url}/openapi.json",
        "--phases",
        "examples,coverage,fuzzing",
    ]
    command += ["--mode", "all", "--max-examples", str(each), "--workers", str(args.workers)]
    command += ["--seed", str(args.seed), "--checks", CHECKS, "--request-timeout", "30", "--no-shrink"]
    command += ["--suppress-health-check", "all", "--continue-on-failure", "--warnings", "off"]
    with tempfile.TemporaryDirectory() as scratch:
        return subprocess.run(command, env=environment, cwd=scratch, check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--examples", type=int, default=10_000, help="requests in all, about (default: 10000)"
    )
    parser.add_argument("--canary-every", type=int, default=5, help="requests (default: 5)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--schemathesis", default="schemathesis", help="its command")
    add_arguments(parser)
    args = parser.parse_args()
    with serving(*OPTIONS) as server, tempfile.TemporaryDirectory() as scratch:
        victim = Victim(server)
        before_mib = server.resident_mib()
        victim.start()
        start_s = time.monotonic()
        code = fuzz(server, args, Path(scratch) / "told.json")
        took_s = time.monotonic() - start_s
        victim.stop()
        told = json.loads((Path(scratch) / "told.json").read_text())
        wait_until_idle(server)
        summary: Row = {
            "requests": sum(told["statuses"].values()),
            "5xx": sum(n for what, n in told["statuses"].items() if what[-3] == "5"),
            "canaries": told["canaries"],
            "victim_same": victim.answers["same"],
            "victim_other": sum(victim.answers.values()) - victim.answers["same"],
            "slowest_s": told["slowest"]["s"],
            "took_s": took_s,
            "memory_mib": f"{before_mib:.0f} -> {server.resident_mib():.0f}",
            "schemathesis_code": code,
        }
        rows = by_path(told["statuses"])
        report(args, "Requests made up from the API's own description", {"All": [summary], "By path": rows})
        sys.stdout.write(f"slowest: {told['slowest']['what']}\n")
        for what, count in victim.answers.items():
            sys.stdout.write(f"victim: {count} x {what}\n")
    return 1 if code or summary["victim_other"] or summary["5xx"] else 0


def by_path(statuses: dict[str, int]) -> list[Row]:
    """A row for each path, a column for each status."""
    counts = {tuple(name.split(" ")): count for name, count in statuses.items()}
    codes = sorted({code for _, code in counts})
    paths = sorted({path for path, _ in counts})
    return [{"path": path, **{code: counts.get((path, code), 0) for code in codes}} for path in paths]


def wait_until_idle(server: Served) -> None:
    """Raises AssertionError when something is still held a minute after the last request."""
    deadline_s = time.monotonic() + 60
    while not server.is_idle():
        assert time.monotonic() < deadline_s, server.gauges()
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
