"""redline bench offline --against: Redline and other engines on the same file, in one table."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from redline import env
from redline.cli import exit_codes
from redline.cli.engine_flags import engine_options
from redline.cli.loading import fetch
from redline.config.engine import EngineConfig
from redline.errors import ConfigError

# Flags of a comparison alone: what they say, and how they are read.
OWN: dict[str, tuple[str, dict[str, Any]]] = {
    "cases": ("some of the cases, as prefill,decode_1 (default: all)", {"metavar": "CASES"}),
    "mixed_requests": ("of the case mixed (default: 200)", {"type": int, "metavar": "N"}),
    "twins": (
        "also llama.cpp on the file requantised to Q4_0, Q8_0, F16 and Q4_K_M",
        {"action": "store_true"},
    ),
    "max_isa": (
        "hold every engine to an instruction set (default: native)",
        {"choices": ("native", "avx2")},
    ),
    "markdown": ("write a dated report there", {"type": Path, "metavar": "FILE"}),
}
# Sizes of the one workload that a bench without peers runs.
ALONE = ("batch", "prompt_tokens", "output_tokens")
TAKEN = ("prefix_cache", "max_batch", "max_context")  # what a fair comparison settles itself


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of a comparison, beside those of `redline bench offline`."""
    group = parser.add_argument_group("comparison")
    group.add_argument(
        "--against",
        metavar="PEERS",
        help="run other engines too, in environments made on first use: llama.cpp,openvino,transformers,vllm",
    )
    for name, (text, settings) in OWN.items():
        group.add_argument(f"--{name.replace('_', '-')}", default=argparse.SUPPRESS, help=text, **settings)


def refuse_own(args: argparse.Namespace) -> None:
    """Without --against, the flags of a comparison would have no effect. Raises ConfigError."""
    for name in OWN:
        if hasattr(args, name):
            raise ConfigError(f"--{name.replace('_', '-')} has no effect without --against")


def run(args: argparse.Namespace) -> int:
    """Compare, print the table, write the files that were asked for."""
    _refuse(args)
    from redline.bench.cases import MIXED_REQUESTS, cases_named
    from redline.bench.peers.registry import peers_named

    peers = peers_named(args.against)
    cases = cases_named(getattr(args, "cases", None), getattr(args, "mixed_requests", MIXED_REQUESTS))
    options = engine_options(args)
    config = EngineConfig.from_dict({"model": args.model, **options})
    markdown = getattr(args, "markdown", None)
    for path in (args.json, markdown):
        if path is not None and not Path(path).parent.is_dir():
            raise ConfigError(f"{path} cannot be written: there is no directory {Path(path).parent}")
    from redline.bench.contest import Settings, contest
    from redline.bench.report import as_markdown, as_text
    from redline.config.resolve import resolve_runtime
    from redline.engine.memory import hardware

    settings = Settings(
        model=fetch(args.model),
        threads=resolve_runtime(config, hardware(), env.num_threads()).threads,
        peers=peers,
        cases=cases,
        repeats=args.repeats,
        seed=args.seed,
        isa=getattr(args, "max_isa", "native"),
        twins=getattr(args, "twins", False),
        options={name: value for name, value in options.items() if name != "threads"},
    )
    with status_line() as tell:
        report = {"command": ["redline", *args.argv], **contest(settings, tell)}
    if markdown is not None:
        markdown.write_text(as_markdown(report))
    write_json(report, args.json, as_text(report))
    return exit_codes.INTERRUPTED if report["interrupted"] else 0


def write_json(report: dict[str, Any], where: str | None, text: str) -> None:
    """The report as JSON on stdout ("-") or in a file, and otherwise, or beside the file, `text`."""
    if where == "-":
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
        return
    if where is not None:
        Path(where).write_text(json.dumps(report, indent=2) + "\n")
    sys.stdout.write(text)


def _refuse(args: argparse.Namespace) -> None:
    """Flags that would have no effect here, or make engines unequal. Raises ConfigError."""
    if args.repeats < 1:
        raise ConfigError(f"--repeats is {args.repeats}; it must be at least 1")
    for name in ALONE:
        if hasattr(args, name):
            raise ConfigError(
                f"--{name.replace('_', '-')} has no effect with --against, whose --cases have sizes"
            )
    for name in TAKEN:
        if hasattr(args, name):
            raise ConfigError(f"--{name.replace('_', '-')} cannot be set with --against: it is equal for all")


@contextlib.contextmanager
def status_line() -> Iterator[Callable[[str], None]]:
    """What is being done, on one line of a terminal that is renewed; nothing in a pipe."""
    if not sys.stderr.isatty():
        yield lambda line: None
        return
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True)
    start_s = time.monotonic()
    with console.status("starting") as status:

        def tell(line: str) -> None:
            room = max(20, console.width - 12)
            status.update(escape(f"{time.monotonic() - start_s:4.0f} s  {line[:room]}"))

        yield tell
