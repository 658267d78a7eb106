"""redline bench startup: import, load, ready, first token, with the model's file in memory and not."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from redline.cli import exit_codes
from redline.cli.bench_against import status_line
from redline.cli.bench_latency import PEERS, settings_of
from redline.cli.bench_serve import add_output_flags, write_report
from redline.cli.engine_flags import add_engine_flags, engine_argv, engine_options
from redline.errors import ConfigError

if TYPE_CHECKING:
    from redline.bench.contest import Settings
    from redline.bench.startup import Starter

CACHES = ("warm", "cold", "both")
EXIT_FAILED = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    files = "the model's file in memory, not in memory, or one after the other (default: both)"
    add("--file-cache", choices=CACHES, default="both", help=files)
    add("--repeats", type=int, default=5, metavar="N", help="default: 5, after a warm-up")
    add("--against", metavar="PEERS", help=PEERS)
    add_output_flags(parser)
    add_engine_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Measure, print, write. Returns 1 when an engine failed, 130 after Ctrl-C."""
    args.seed = 0
    settings = settings_of(args, [])
    from redline.bench.results.document import circumstances, load_average
    from redline.bench.startup import bench_startup

    load_before, interrupted = load_average(), False
    with status_line() as tell:
        starters = _starters(args, settings, tell)
        try:
            bench_startup(starters, args.repeats, tell)
        except KeyboardInterrupt:
            interrupted = True
    if not starters[0].runs:
        if interrupted:
            return exit_codes.INTERRUPTED
        raise ConfigError(f"Redline cannot start with this: {starters[0].failure}")
    report = {
        **_report(args, settings, starters),
        "interrupted": interrupted,
        **circumstances(["redline", *args.argv], load_before),
    }
    write_report(args, report)
    if interrupted:
        return exit_codes.INTERRUPTED
    return EXIT_FAILED if any(starter.failure for starter in starters) else 0


def _starters(args: argparse.Namespace, settings: Settings, tell: Any) -> list[Starter]:
    from redline.bench.contest import engines
    from redline.bench.startup import Start, Starter, peer_start, redline_starts

    options = engine_options(args)
    flags = ["--model", str(settings.model), *engine_argv(options)]
    ways: dict[str, list[Start]] = {"Redline": redline_starts(settings.model, options, flags)}
    if settings.peers:
        ways |= {engine.name: [peer_start(engine)] for engine in engines(settings, tell)[1:]}
    modes = ("warm", "cold") if args.file_cache == "both" else (args.file_cache,)
    return [
        Starter(name=f"{name}, {mode}", starts=starts, model=settings.model, cold=mode == "cold")
        for mode in modes
        for name, starts in ways.items()
    ]


def _report(args: argparse.Namespace, settings: Settings, starters: list[Starter]) -> dict[str, Any]:
    return {
        "kind": "startup",
        "title": f"{settings.model.name}: from nothing to the first token",
        "intro": ["Every start is a process of its own. Another engine shows only its first text."],
        "measured": {"workload": "startup", "model": settings.model.name},
        "repeats": args.repeats,
        "subjects": [
            {"name": starter.name, "metrics": starter.metrics, "notes": starter.notes()}
            for starter in starters
        ],
    }
