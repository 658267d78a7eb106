"""redline ablate: what each technique buys with this model on this machine."""

from __future__ import annotations

import argparse
import datetime
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redline import env
from redline.cli import exit_codes
from redline.cli.bench_against import write_json
from redline.cli.engine_flags import DEFAULT_MODEL
from redline.cli.loading import fetch
from redline.cli.terminal import columns, folded, progress_bar
from redline.config.engine import EngineConfig
from redline.errors import ConfigError

if TYPE_CHECKING:
    from redline.bench.ablate.pairs import Pair

EXIT_BROKEN = 1  # an exact technique changed an answer, or a configuration failed
PIPE_COLUMNS = 1 << 16  # one pair, one line
REPEATS, QUICK_REPEATS = 5, 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--model",
        default=DEFAULT_MODEL,
        help=f"alias, file, directory or repository (default: {DEFAULT_MODEL})",
    )
    add(
        "--threads",
        type=int,
        default=None,
        metavar="N",
        help="of every configuration but one (default: all cores)",
    )
    add("--only", default="", metavar="NAME,...", help="these techniques alone")
    add("--workload", default="", metavar="NAME,...", help="these loads alone")
    add(
        "--start",
        default="both",
        choices=("best", "plain", "both"),
        help="off alone from the best configuration, on alone from the plain one (default: both)",
    )
    add("--repeats", type=int, metavar="N", help=f"alternating runs after a warm-up (default: {REPEATS})")
    add("--quick", action="store_true", help="one run of each and no fidelity: a first look")
    add("--list", action="store_true", help="show what would be measured, and end")
    add("--json", nargs="?", const="-", metavar="FILE", help="write one JSON object to FILE, or print it")
    add("--markdown", type=Path, metavar="FILE", help="write a dated report there")
    add("--plot", type=Path, metavar="FILE", help="draw the payoffs there, as SVG")


def run(args: argparse.Namespace) -> int:
    """Measure, print the tables, write the files that were asked for.

    Returns 0, 1 when an exact technique changed an answer or a configuration failed, 130 when Ctrl-C
    ended it early.
    """
    repeats = _repeats(args)
    EngineConfig(model=args.model, threads=args.threads)  # a wrong flag is refused before anything else
    for path in (args.json, args.markdown, args.plot):
        if path is not None and not Path(path).parent.is_dir():
            raise ConfigError(f"{path} cannot be written: there is no directory {Path(path).parent}")
    from redline.bench.ablate.pairs import STARTS, pairs

    starts = STARTS if args.start == "both" else (args.start,)
    chosen = _comparable(pairs(starts, _names(args.only), _names(args.workload)), args.threads)
    if args.list:
        sys.stdout.write("".join(_line(pair) for pair in chosen))
        return 0
    return _run(args, chosen, repeats)


def _comparable(chosen: list[Pair], threads: int | None) -> list[Pair]:
    """Without threads where there is but one: both sides would be the same engine. Raises ConfigError."""
    if (threads or env.num_threads() or len(os.sched_getaffinity(0))) > 1:
        return chosen
    left = [pair for pair in chosen if pair.switch.name != "threads"]
    if not left:
        raise ConfigError("--only asks for threads, but there is one thread on both sides; give --threads 2")
    return left


def _repeats(args: argparse.Namespace) -> int:
    repeats = args.repeats if args.repeats is not None else QUICK_REPEATS if args.quick else REPEATS
    if repeats < 1:
        raise ConfigError(f"--repeats is {repeats}; it must be at least 1")
    return int(repeats)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _line(pair: Pair) -> str:
    start = f"{pair.start:<7}{pair.switch.name:<21}{pair.load.name:<15}"
    first, *others = folded(pair.load.summary, columns(PIPE_COLUMNS) - len(start))
    return "".join(f"{each}\n" for each in (start + first, *(" " * len(start) + each for each in others)))


def _run(args: argparse.Namespace, chosen: list[Pair], repeats: int) -> int:
    from redline.bench.ablate.ablation import Settings, ablate, is_broken
    from redline.bench.ablate.loads import LOADS
    from redline.bench.ablate.report import as_markdown, as_text, print_tables
    from redline.bench.ablate.svg import as_svg
    from redline.bench.environment import environment

    load_before, path = os.getloadavg()[0], fetch(args.model)
    common = {} if args.threads is None else {"threads": args.threads}
    settings = Settings(model=str(path), repeats=repeats, common=common, fidelity=not args.quick)
    rows: list[dict[str, Any]] = []
    interrupted = False
    with progress_bar("ablating", "runs") as progress:
        try:
            ablate(chosen, settings, rows, progress)
        except KeyboardInterrupt:
            interrupted = True
    from dataclasses import asdict

    report = {
        "command": ["redline", *args.argv],
        "date": datetime.date.today().isoformat(),
        "model": path.name,
        "repeats": repeats,
        "interrupted": interrupted,
        "load_before": load_before,
        "loads": {name: LOADS[name].summary for name in dict.fromkeys(pair.load.name for pair in chosen)},
        "rows": rows,
        "environment": asdict(environment()),
    }
    if args.plot is not None:
        args.plot.write_text(as_svg(report))
    if args.markdown is not None:
        plot = None if args.plot is None else os.path.relpath(args.plot, args.markdown.parent)
        args.markdown.write_text(as_markdown(report, plot))
    if args.json != "-" and sys.stdout.isatty():
        write_json(report, args.json, "")
        print_tables(report)
    else:
        write_json(report, args.json, as_text(report))
    if interrupted:
        return exit_codes.INTERRUPTED
    failed = any(is_broken(row) or row["failure"] is not None for row in rows)
    return EXIT_BROKEN if failed else 0
