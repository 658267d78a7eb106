"""redline bench: measure speed and memory on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redline import env
from redline.cli import (
    bench_against,
    bench_compare,
    bench_latency,
    bench_ops,
    bench_serve,
    bench_startup,
    bench_sweep,
    bench_workload,
    exit_codes,
)
from redline.cli.engine_flags import add_engine_flags
from redline.cli.loading import fetch, open_llm
from redline.cli.terminal import progress_bar
from redline.errors import ConfigError

if TYPE_CHECKING:
    from redline.llm import LLM

SWEEP = "throughput and latency by batch size and token budget, and where to stop"
OPS = "each kernel at the shapes of a model, beside the machine's roofline"
SERVE = "a load of requests against a server, with the OpenAI API, of anybody"
LATENCY = "one request, or one batch of equal ones, on an idle engine"
STARTUP = "a start from nothing to the first token, phase by phase"
COMPARE = "two reports: whether they differ by more than chance"
# Verbs below this one that have a file of their own.
OTHERS = {
    "ops": (bench_ops, OPS, "Measure"),
    "sweep": (bench_sweep, SWEEP, "Measure"),
    "serve": (bench_serve, SERVE, "Measure"),
    "latency": (bench_latency, LATENCY, "Measure"),
    "startup": (bench_startup, STARTUP, "Measure"),
    "compare": (bench_compare, COMPARE, "Compare"),
}
# Of the workload; the defaults are those of redline.bench.offline.Workload.
SIZES = {
    "batch": "requests at once (default: 1)",
    "prompt_tokens": "default: 128",
    "output_tokens": "default: 64",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    summary = "one batch of equal requests, without a server"
    for name, (module, text, does) in OTHERS.items():
        module.add_arguments(kinds.add_parser(name, help=text, description=f"{does} {text}."))
    offline = kinds.add_parser("offline", help=summary, description=f"Measure {summary}.")
    for name, text in SIZES.items():
        flag = "--" + name.replace("_", "-")
        offline.add_argument(flag, type=int, metavar="N", default=argparse.SUPPRESS, help=text)
    named = "requests of real text by this name instead: chat, agent, ... (see bench serve)"
    offline.add_argument("--workload", metavar="NAME", help=named)
    count = "of --workload (default: 48 or 64)"
    offline.add_argument("--requests", type=int, metavar="N", default=argparse.SUPPRESS, help=count)
    scale = "of --workload: multiply the lengths (default: 1)"
    offline.add_argument("--scale", type=float, metavar="X", default=argparse.SUPPRESS, help=scale)
    offline.add_argument("--repeats", type=int, default=3, metavar="N", help="default: 3, after a warm-up")
    offline.add_argument("--seed", type=int, default=0, metavar="N", help="of the prompts (default: 0)")
    offline.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="write one JSON object to FILE, or print it"
    )
    bench_against.add_arguments(offline)
    add_engine_flags(offline)


def run(args: argparse.Namespace) -> int:
    if args.kind in OTHERS:
        code: int = OTHERS[args.kind][0].run(args)
        return code
    if args.against is not None:
        return bench_against.run(args)
    if args.workload is not None:
        bench_against.refuse_own(args)
        return bench_workload.run(args)
    for name in ("requests", "scale"):
        if hasattr(args, name):
            raise ConfigError(f"--{name} has no effect without --workload")
    bench_against.refuse_own(args)
    from redline.bench.offline import Workload, bench_offline
    from redline.bench.offline_report import as_text, offline_report
    from redline.bench.results.document import circumstances, load_average

    sizes = {name: getattr(args, name) for name in SIZES if hasattr(args, name)}
    workload = Workload(repeats=args.repeats, seed=args.seed, **sizes)
    load_before = load_average()
    llm = open_llm(args, max_batch=workload.batch, prefix_cache=False)
    with progress_bar("measuring", "repeats") as progress:
        result = bench_offline(llm, workload, lambda done: progress(done, args.repeats))
    report = {
        **offline_report(llm.model_name, workload, result, _engine(args, llm)),
        **circumstances(["redline", *args.argv], load_before),
    }
    bench_against.write_json(report, args.json, as_text(report))
    return exit_codes.INTERRUPTED if result.interrupted else 0


def _engine(args: argparse.Namespace, llm: LLM) -> dict[str, Any]:
    """What ran, and how fast this machine reads as many bytes as its weights have."""
    from redline.bench.ceiling import read_bandwidth
    from redline.config.resolve import resolve_runtime
    from redline.engine.memory import hardware

    threads = resolve_runtime(llm.config, hardware(), env.num_threads()).threads
    weights_bytes = _size(fetch(args.model))
    return {
        "threads": threads,
        "weights_bytes": weights_bytes,
        "kv_bytes": llm.kv_bytes,
        "read_bandwidth_bytes_s": read_bandwidth(threads, num_bytes=weights_bytes),
        "reasons": list(llm.reasons),
    }


def _size(model: Path) -> int:
    """Bytes of the weights' file or files."""
    files = [model] if model.is_file() else list(model.glob("*.safetensors"))
    return sum(file.stat().st_size for file in files)
