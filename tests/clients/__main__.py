"""The command behind scripts/test-clients."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from redline.models.pull import pull
from tests.clients.catalogue import CLIENTS, QUICK, Client
from tests.clients.run import Report, run_client
from tests.clients.server_process import server_process, write_tokenizer


def main(arguments: Sequence[str] | None = None) -> int:
    """0: every client passed. 1: one did not. 2: no such client."""
    args = _parser().parse_args(arguments)
    try:
        chosen = choose(args.names, QUICK if args.quick else CLIENTS)
    except ValueError as error:
        print(f"scripts/test-clients: {error}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server ends with this process
    pull("smollm2")
    reports = []
    with server_process() as server, tempfile.TemporaryDirectory(prefix="redline-tokenizer-") as tokenizer:
        write_tokenizer(Path(tokenizer))
        for client in chosen:
            reports.append(run_client(client, server, Path(tokenizer), update=args.update))
            if not args.json:
                print(summary(reports[-1]), flush=True)
    if args.json:
        print(json.dumps([{**asdict(report), "passed": report.passed} for report in reports], indent=2))
    return int(not all(report.passed for report in reports))


def choose(names: Sequence[str], among: Sequence[Client]) -> list[Client]:
    """The clients of these names; all without any. Raises ValueError."""
    known = {client.name: client for client in among}
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"no client is called {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(names or known)]


def summary(report: Report) -> str:
    """A line for the client, and one for everything that failed."""
    failed = [check for check in report.checks if check.reason is not None]
    seconds = sum(check.seconds for check in report.checks)
    counts = f"{len(report.checks) - len(failed)} of {len(report.checks)} checks in {seconds:.0f} s"
    lines = [f"{'ok  ' if report.passed else 'FAIL'} {report.client} {report.version}: {counts}"]
    lines += [f"     {check.name}: {check.reason}" for check in failed]
    if report.error is not None:
        lines.append(f"     {report.error}")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/test-clients",
        description="Run real clients, each in an environment of its own, against a real server.",
        epilog="clients: " + ", ".join(client.name for client in CLIENTS),
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="a client (default: all)")
    parser.add_argument("--quick", action="store_true", help="only what .venv has; nothing is installed")
    parser.add_argument("--update", action="store_true", help="install the newest versions again")
    parser.add_argument("--json", action="store_true", help="print a report as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
