"""redline bench latency: one request, or one batch, on an idle engine; TTFT and TPOT by size."""

from __future__ import annotations

import argparse
import itertools
from typing import TYPE_CHECKING, Any

from redline import env
from redline.cli import exit_codes
from redline.cli.bench_against import status_line
from redline.cli.bench_serve import add_output_flags, check_files, write_report
from redline.cli.bench_sweep import values_of
from redline.cli.engine_flags import add_engine_flags, engine_options
from redline.cli.loading import check_engine_flags, fetch
from redline.config.engine import EngineConfig
from redline.errors import ConfigError

if TYPE_CHECKING:
    from redline.bench.contest import Settings
    from redline.bench.latency import Cell, Timed

EXIT_FAILED = 1  # an engine failed
SETTLED = ("prefix_cache", "max_batch", "max_context")  # by the sizes that are measured
PEERS = "run other engines too, in environments made on first use: llama.cpp,openvino,transformers,vllm"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--input-tokens", default="128", metavar="N,...", help="of each prompt (default: 128)")
    add("--output-tokens", default="32", metavar="N,...", help="of each answer (default: 32)")
    add("--batch", default="1", metavar="N,...", help="requests at once (default: 1)")
    add("--iterations", type=int, default=5, metavar="N", help="rounds of a run (default: 5)")
    add("--repeats", type=int, default=5, metavar="N", help="runs (default: 5, after a warm-up)")
    add("--seed", type=int, default=0, metavar="N", help="of the prompts (default: 0)")
    add("--against", metavar="PEERS", help=PEERS)
    add_output_flags(parser)
    add_engine_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Measure, print, write. Returns 1 when an engine failed, 130 after Ctrl-C."""
    for name in SETTLED:
        if hasattr(args, name):
            raise ConfigError(f"--{name.replace('_', '-')} cannot be set here: the sizes settle it")
    cells = _cells(args)
    settings = settings_of(args, cells)
    from redline.bench.against import Seat
    from redline.bench.contest import engines
    from redline.bench.latency import Timed, bench_latency
    from redline.bench.results.document import load_average

    load_before, interrupted = load_average(), False
    with status_line() as tell:
        subjects = [Timed(seat=Seat(engine=engine)) for engine in engines(settings, tell)]
        try:
            bench_latency(subjects, cells, args.repeats, args.iterations, args.seed, tell)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            for subject in subjects:
                subject.seat.close()
    if not subjects[0].runs:
        if interrupted:
            return exit_codes.INTERRUPTED
        raise ConfigError(f"Redline cannot run this: {subjects[0].failure}")
    report = _report(args, settings, cells, subjects)
    from redline.bench.results.document import circumstances

    report |= {"interrupted": interrupted, **circumstances(["redline", *args.argv], load_before)}
    write_report(args, report)
    if interrupted:
        return exit_codes.INTERRUPTED
    return EXIT_FAILED if any(subject.failure for subject in subjects) else 0


def settings_of(args: argparse.Namespace, cells: list[Cell]) -> Settings:
    """What the engines are started with. Raises ConfigError before anything is."""
    check_files(args.json, args.html)
    if args.repeats < 1:
        raise ConfigError(f"--repeats is {args.repeats}; it must be at least 1")
    options = check_engine_flags(args)
    from redline.bench.cases import Case
    from redline.bench.contest import Settings
    from redline.bench.peers.registry import peers_named
    from redline.config.resolve import resolve_runtime
    from redline.engine.memory import hardware

    config = EngineConfig.from_dict({"model": args.model, **engine_options(args)})
    peers = [] if args.against is None else peers_named(args.against)
    return Settings(
        model=fetch(args.model),
        threads=resolve_runtime(config, hardware(), env.num_threads()).threads,
        peers=peers,
        cases=[Case(name=str(cell), summary=str(cell), parts=(cell.part,)) for cell in cells],
        repeats=args.repeats,
        seed=args.seed,
        isa="native",
        twins=False,
        options={name: value for name, value in options.items() if name != "threads"},
    )


def _cells(args: argparse.Namespace) -> list[Cell]:
    from redline.bench.latency import MOST_BATCH, Cell

    if args.iterations < 1:
        raise ConfigError(f"--iterations is {args.iterations}; it must be at least 1")
    sizes = [
        values_of("--batch", args.batch, _between(1, MOST_BATCH), f"an integer between 1 and {MOST_BATCH}"),
        values_of("--input-tokens", args.input_tokens, _between(1, 2**20), "a positive integer"),
        values_of("--output-tokens", args.output_tokens, _between(2, 2**20), "an integer above 1"),
    ]
    return [
        Cell(batch=batch, input_tokens=input_, output_tokens=output)
        for batch, input_, output in itertools.product(*sizes)
    ]


def _between(least: int, most: int) -> Any:
    def read(text: str) -> int:
        if not text.isdecimal() or not least <= int(text[:9]) <= most:
            raise ValueError(text)
        return int(text)

    return read


def _report(
    args: argparse.Namespace, settings: Settings, cells: list[Cell], subjects: list[Timed]
) -> dict[str, Any]:
    from redline.bench.latency import metrics_of

    return {
        "kind": "latency",
        "title": f"{settings.model.name}: latency of an idle engine",
        "intro": [
            f"{args.repeats} runs of {args.iterations} rounds; random prompts, new in each; "
            f"{settings.threads} threads. Percentiles are those of a run."
        ],
        "measured": {
            "workload": [str(cell) for cell in cells],
            "model": settings.model.name,
            "arrivals": f"{args.iterations} rounds a run",
        },
        "repeats": args.repeats,
        "subjects": [
            {
                "name": subject.seat.engine.name,
                "metrics": metrics_of(subject),
                "notes": [f"Failed: {subject.failure}"] if subject.failure else [],
            }
            for subject in subjects
        ],
    }
