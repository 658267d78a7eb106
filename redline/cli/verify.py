"""redline verify: does what is promised hold for this model, with these options, on this machine?"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from redline.cli.bench_against import status_line, write_json
from redline.cli.engine_flags import add_engine_flags, engine_options
from redline.cli.loading import fetch
from redline.config.engine import EngineConfig

if TYPE_CHECKING:
    from redline.bench.verify.outcome import Check, Outcome

EXIT_BROKEN = 1
MARKS = {"holds": "ok", "broken": "BROKEN", "skipped": "skipped"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_engine_flags(parser)
    parser.add_argument("--only", default="", metavar="NAME,...", help="these checks alone")
    parser.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="write one JSON object to FILE, or print it"
    )


def run(args: argparse.Namespace) -> int:
    options = engine_options(args)
    EngineConfig.from_dict({"model": args.model, **options})  # a wrong flag is refused before anything else
    path = fetch(args.model)
    from redline.bench.environment import environment
    from redline.bench.verify.verify import checks_for, chosen

    names = [name.strip() for name in args.only.split(",") if name.strip()]
    checks = chosen(checks_for(args.model, path, options), names)
    outcomes = list(_shown(checks, quiet=args.json == "-"))
    report = {
        "command": ["redline", *args.argv],
        "model": args.model,
        "options": options,
        "outcomes": [asdict(outcome) for outcome in outcomes],
        "environment": asdict(environment()),
    }
    write_json(report, args.json, summary(outcomes))
    return EXIT_BROKEN if any(outcome.status == "broken" for outcome in outcomes) else 0


def _shown(checks: list[Check], *, quiet: bool) -> Iterator[Outcome]:
    """Each outcome is printed when it is there: a run takes a minute."""
    from redline.bench.verify.verify import verify

    width = max((len(check.name) for check in checks), default=0)
    with status_line() as tell:
        for outcome in verify(checks, tell):
            if not quiet:
                sys.stdout.write(line(outcome, width))
                sys.stdout.flush()
            yield outcome


def line(outcome: Outcome, width: int) -> str:
    """One check: what came of it, what it promises, what was compared."""
    return f"{MARKS[outcome.status]:<8}{outcome.promise:<11}{outcome.name:<{width}}  {outcome.detail}\n"


def summary(outcomes: list[Outcome]) -> str:
    """How many of each, the broken ones by name."""
    counts = {status: sum(each.status == status for each in outcomes) for status in MARKS}
    text = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    seconds = sum(each.seconds for each in outcomes)
    return f"\n{len(outcomes)} checks in {seconds:.0f} s: {text}.\n"
