"""redline bench sweep: which batch size and token budget to run with, by experiment."""

from __future__ import annotations

import argparse
import datetime
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redline import env
from redline.cli import exit_codes
from redline.cli.bench_against import status_line, write_json
from redline.cli.engine_flags import add_engine_flags
from redline.cli.loading import open_llm
from redline.cli.terminal import progress_bar
from redline.errors import ConfigError

if TYPE_CHECKING:
    from redline.bench.sweep.sweep import SweepPlan
    from redline.llm import LLM

DEFAULT_BATCHES = "1,2,4,8,16,32"
DEFAULT_BUDGETS = "512"
EXIT_MISSED = 1  # it ran, and no setting meets the target
SWEPT = {"max_batch": "--batches", "chunked_prefill": "--budgets"}  # engine flags that the grid takes over
# Of the load; the defaults are those of redline.bench.sweep.load.Load.
SIZES = {
    "prompt_tokens": "median, or all with fixed lengths (default: 128)",
    "output_tokens": "median, or all with fixed lengths (default: 64)",
    "seed": "of lengths, prompts and arrivals (default: 0)",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--batches", default=DEFAULT_BATCHES, metavar="N,...", help=f"default: {DEFAULT_BATCHES}")
    add(
        "--budgets",
        default=DEFAULT_BUDGETS,
        metavar="N,...",
        help=f"tokens of one step; none: whole prompts at once (default: {DEFAULT_BUDGETS})",
    )
    add("--requests", type=int, metavar="N", help="of each run (default: 64, or twice the largest batch)")
    for name, text in SIZES.items():
        flag = "--" + name.replace("_", "-")
        add(flag, type=int, metavar="N", default=argparse.SUPPRESS, help=text)
    add(
        "--lengths",
        choices=("heavy", "fixed"),
        default="heavy",
        help="of prompts and answers: log-normal, or all equal (default: heavy)",
    )
    add("--rate", type=float, metavar="X", help="arrivals per second (default: the next when one has ended)")
    add("--ttft", type=float, metavar="SECONDS", help="target: time to first token")
    add("--tpot", type=float, metavar="SECONDS", help="target: time per output token")
    add("--percentile", type=float, default=95.0, metavar="P", help="of the targets (default: 95)")
    add("--repeats", type=int, default=3, metavar="N", help="default: 3, after a warm-up")
    add("--json", nargs="?", const="-", metavar="FILE", help="write one JSON object to FILE, or print it")
    add("--markdown", type=Path, metavar="FILE", help="write a dated report there")
    add("--plot", type=Path, metavar="FILE", help="draw throughput over latency there, as SVG")
    add_engine_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Sweep, print what was found, write the files that were asked for.

    Returns 0, 1 when no setting meets the target, 130 when Ctrl-C ended it early.
    """
    _refuse(args)
    plan, left_out = _plan(args)
    from redline.bench.sweep.findings import findings
    from redline.bench.sweep.report import as_markdown, as_text
    from redline.bench.sweep.svg import as_svg
    from redline.bench.sweep.sweep import runs_of, sweep

    load_before = os.getloadavg()[0]
    options = {"max_batch": max(setting.max_batch for setting in plan.settings), "prefix_cache": False}
    llm = open_llm(args, max_waiting=max(1024, plan.load.requests), **options)
    run_setting = runs_of(llm, plan.load)
    with status_line() as tell:
        tell("measuring the machine's ceilings")
        circumstances = _circumstances(llm)  # first, so that nothing is left to do after Ctrl-C
    with progress_bar("sweeping", "requests") as progress:
        swept, interrupted = sweep(run_setting, plan, progress)
    report = {
        "command": ["redline", *args.argv],
        "date": datetime.date.today().isoformat(),
        "model": llm.model_name,
        **findings(plan, swept),
        "measured": {
            "workload": plan.load.describe(),
            "model": llm.model_name,
            "threads": circumstances["threads"],
        },
        "left_out": left_out,
        "interrupted": interrupted,
        "load_before": load_before,
        **circumstances,
    }
    if args.plot is not None:
        args.plot.write_text(as_svg(report))
    if args.markdown is not None:
        plot = None if args.plot is None else os.path.relpath(args.plot, args.markdown.parent)
        args.markdown.write_text(as_markdown(report, plot))
    write_json(report, args.json, as_text(report))
    if interrupted:
        return exit_codes.INTERRUPTED
    return EXIT_MISSED if plan.target.given and report["best"] is None else 0


def _refuse(args: argparse.Namespace) -> None:
    """Flags without effect here, and files that cannot be written. Raises ConfigError."""
    for name, flag in SWEPT.items():
        if hasattr(args, name):
            raise ConfigError(f"--{name.replace('_', '-')} has no effect in a sweep; {flag} lists the values")
    for path in (args.json, args.markdown, args.plot):
        if path is not None and not Path(path).parent.is_dir():
            raise ConfigError(f"{path} cannot be written: there is no directory {Path(path).parent}")


def _plan(args: argparse.Namespace) -> tuple[SweepPlan, list[str]]:
    """What to run, and what is left out. Raises ConfigError before anything is loaded."""
    batches = values_of("--batches", args.batches, _batch, "an integer between 1 and 4096")
    budgets = values_of("--budgets", args.budgets, _budget, "a positive integer, or none")
    from redline.bench.sweep.grid import grid
    from redline.bench.sweep.load import Load
    from redline.bench.sweep.sweep import SweepPlan, least_requests
    from redline.bench.sweep.target import Target

    settings, left_out = grid(batches, budgets)
    requests = args.requests
    if requests is None:
        requests = max(64, least_requests(settings, args.rate))
    sizes = {name: getattr(args, name) for name in SIZES if hasattr(args, name)}
    load = Load(requests=requests, lengths=args.lengths, rate=args.rate, **sizes)
    target = Target(ttft_s=args.ttft, tpot_s=args.tpot, percentile=args.percentile)
    return SweepPlan(settings=settings, load=load, target=target, repeats=args.repeats), left_out


def values_of(flag: str, given: str, read: Callable[[str], Any], accepted: str) -> list[Any]:
    """The parts of a list such as "1,2,4". Raises ConfigError."""
    values = []
    for part in given.split(","):
        try:
            values.append(read(part.strip()))
        except ValueError:
            raise ConfigError(f"{flag} has {part.strip()[:40]!r}; each must be {accepted}") from None
    return values


def _batch(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text[:9]) <= 4096:
        raise ValueError(text)
    return int(text)


def _budget(text: str) -> int | None:
    if text == "none":
        return None
    if not text.isdecimal() or not 1 <= int(text[:9]) <= 2**24:
        raise ValueError(text)
    return int(text)


def _circumstances(llm: LLM) -> dict[str, Any]:
    """The machine, its ceilings, and how the engine was put together."""
    from dataclasses import asdict

    from redline.bench.ceiling import Ceiling
    from redline.bench.environment import environment
    from redline.bench.footprint import Footprint, footprint
    from redline.config.resolve import resolve_runtime
    from redline.engine.memory import hardware

    threads = resolve_runtime(llm.config, hardware(), env.num_threads()).threads
    step_bytes = Footprint(**footprint(llm)).step_bytes(0)
    return {
        "threads": threads,
        "kv_bytes": llm.kv_bytes,
        "reasons": list(llm.reasons),
        "ceiling": Ceiling.measure(threads, env.isa() or "native", step_bytes).as_dict(),
        "environment": asdict(environment()),
    }
