"""redline verify: does what is promised hold for this model, with these options, on this machine?"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from redline.cli import exit_codes
from redline.cli.bench_against import status_line, write_json
from redline.cli.engine_flags import add_engine_flags, engine_options
from redline.cli.loading import fetch
from redline.cli.terminal import columns, folded
from redline.config.engine import EngineConfig

if TYPE_CHECKING:
    from redline.bench.verify.outcome import Check, Outcome

EXIT_BROKEN = 1  # also when nothing was compared: a proof of nothing is none
MARKS = {"holds": "ok", "broken": "BROKEN", "skipped": "skipped"}
WORDS = {"holds": "ok", "broken": "broken", "skipped": "skipped"}
PIPE_COLUMNS = 1 << 16  # one check, one line
LEAST_ROOM = 40  # columns for what was compared


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
    outcomes: list[Outcome] = []
    interrupted = False
    try:
        _run(checks, outcomes, quiet=args.json == "-")
    except KeyboardInterrupt:
        interrupted = True
    report = {
        "command": ["redline", *args.argv],
        "model": args.model,
        "options": options,
        "interrupted": interrupted,
        "num_checks": len(checks),
        "outcomes": [asdict(outcome) for outcome in outcomes],
        "environment": asdict(environment()),
    }
    write_json(report, args.json, summary(outcomes, len(checks)))
    return exit_codes.INTERRUPTED if interrupted else exit_code(outcomes)


def exit_code(outcomes: list[Outcome]) -> int:
    """0 when something holds and nothing is broken."""
    found = {outcome.status for outcome in outcomes}
    return 0 if "holds" in found and "broken" not in found else EXIT_BROKEN


def _run(checks: list[Check], outcomes: list[Outcome], *, quiet: bool) -> None:
    """Add each outcome, then print it: a run takes minutes, and what is printed is in the report."""
    from redline.bench.verify.verify import verify

    width = max((len(check.name) for check in checks), default=0)
    room = columns(PIPE_COLUMNS)
    # Meanwhile the status line sends what is written to sys.stdout to the terminal: not into a pipe.
    pipe = None if sys.stdout.isatty() else sys.stdout
    with status_line() as tell:
        for outcome in verify(checks, tell):
            outcomes.append(outcome)
            if not quiet:
                (pipe or sys.stdout).write(line(outcome, width, room))
                (pipe or sys.stdout).flush()


def line(outcome: Outcome, width: int, room: int) -> str:
    """One check: what came of it, what it promises, what was compared, which goes on below itself."""
    start = f"{MARKS[outcome.status]:<8}{outcome.promise:<11}{outcome.name:<{width}}  "
    left = room - len(start)
    if left < LEAST_ROOM:  # the detail gets lines of its own
        lines = [start.rstrip(), *(f"{'':<8}{each}" for each in folded(outcome.detail, room - 8))]
    else:
        first, *others = folded(outcome.detail, left) or [""]
        lines = [start + first, *(" " * len(start) + each for each in others)]
    return "".join(f"{each.rstrip()}\n" for each in lines)


def summary(outcomes: list[Outcome], num_checks: int) -> str:
    """How many of each, and how many were not reached."""
    counts = {status: sum(each.status == status for each in outcomes) for status in WORDS}
    text = ", ".join(f"{count} {WORDS[status]}" for status, count in counts.items() if count)
    seconds = sum(each.seconds for each in outcomes)
    done = f"{len(outcomes)} of {num_checks}" if len(outcomes) < num_checks else f"{num_checks}"
    checks = "check" if num_checks == 1 else "checks"
    lines = [f"{done} {checks} in {seconds:.0f} s: {text or 'none was done'}."]
    if outcomes and not counts["holds"] and not counts["broken"]:
        lines.append("Nothing was compared, so nothing is proved.")
    lines += [f"BROKEN: {each.name}" for each in outcomes if each.status == "broken"]
    return "\n".join(["", *lines]) + "\n"
