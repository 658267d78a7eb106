"""redline bench ops: each kernel at the shapes of a model, beside the machine's roofline."""

from __future__ import annotations

import argparse

from redline import env
from redline.cli import exit_codes
from redline.cli.bench_against import status_line, write_json
from redline.cli.engine_flags import DEFAULT_MODEL
from redline.cli.loading import fetch
from redline.errors import ConfigError

DEFAULT_ROWS = "1,8,32,512"
DEFAULT_FORMATS = "Q4_1,Q8_0,F16"
MOST_ROWS = 4096


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        help=f"whose shapes: alias, GGUF file, safetensors directory (default: {DEFAULT_MODEL})",
    )
    parser.add_argument("--rows", default=DEFAULT_ROWS, metavar="N,...", help=f"default: {DEFAULT_ROWS}")
    parser.add_argument(
        "--formats",
        default=DEFAULT_FORMATS,
        metavar="FORMAT,...",
        help=f"of the weights, as GGUF names them, or all (default: {DEFAULT_FORMATS})",
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="one group of ops, as matmul or attention")
    parser.add_argument("--threads", type=int, metavar="N", help="default: REDLINE_THREADS, else all cores")
    parser.add_argument(
        "--repeats", type=int, default=5, metavar="N", help="rounds, with a sample of each op (default: 5)"
    )
    parser.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="write one JSON object to FILE, or print it"
    )


def run(args: argparse.Namespace) -> int:
    rows, formats = _rows(args.rows), _formats(args.formats)
    if args.repeats < 1:
        raise ConfigError(f"--repeats is {args.repeats}; it must be at least 1")
    from redline.bench.ceiling import Ceiling
    from redline.bench.footprint import model_footprint
    from redline.bench.ops import bench_ops
    from redline.bench.ops_report import as_text, ops_report
    from redline.bench.results.document import circumstances, load_average
    from redline.config.engine import EngineConfig
    from redline.config.resolve import resolve_runtime
    from redline.engine.memory import hardware
    from redline.models.load_weights import load_weights
    from redline.ops.memory import keep_freed_memory
    from redline.ops.registry import backend

    given = {} if args.threads is None else {"threads": args.threads}
    config = EngineConfig.from_dict({"model": args.model, **given})
    threads = resolve_runtime(config, hardware(), env.num_threads()).threads
    ops = backend("cpu")
    keep_freed_memory()
    decoder = load_weights(fetch(args.model), ops, "int8")
    spec, step_bytes = decoder.spec, model_footprint(decoder, kv_bytes=0).step_bytes(0)
    del decoder
    load_before = load_average()
    with status_line() as tell:
        tell("measuring the machine's ceilings")
        ceiling = Ceiling.measure(threads, env.isa() or "native", step_bytes)
        results, interrupted = bench_ops(spec, ops, rows, formats, ceiling, args.only, args.repeats, tell)
    report = {
        **ops_report(results, fetch(args.model).stem, ceiling, args.repeats, interrupted),
        **circumstances(["redline", *args.argv], load_before),
    }
    write_json(report, args.json, as_text(report))
    return exit_codes.INTERRUPTED if interrupted else 0


def _rows(given: str) -> list[int]:
    parts = [part.strip() for part in given.split(",")]
    for part in parts:
        if not part.isdecimal() or len(part) > 4 or not 1 <= int(part) <= MOST_ROWS:
            raise ConfigError(f"--rows has {part[:40]!r}; each must be an integer between 1 and {MOST_ROWS}")
    return sorted({int(part) for part in parts})


def _formats(given: str) -> list[str]:
    from redline.bench.op_trials import GGUF_BLOCKS

    names = list(GGUF_BLOCKS) if given == "all" else [part.strip().upper() for part in given.split(",")]
    for name in names:
        if name not in GGUF_BLOCKS:
            raise ConfigError(f"--formats has {name[:40]!r}; the formats are all, {', '.join(GGUF_BLOCKS)}")
    return list(dict.fromkeys(names))
