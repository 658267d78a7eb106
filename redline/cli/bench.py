"""redline bench: measure speed and memory on this machine."""

from __future__ import annotations

import argparse
from dataclasses import asdict
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
)
from redline.cli.engine_flags import add_engine_flags
from redline.cli.loading import fetch, open_llm
from redline.cli.terminal import progress_bar
from redline.errors import ConfigError

if TYPE_CHECKING:
    from redline.bench.offline import OfflineResult, Workload
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

    sizes = {name: getattr(args, name) for name in SIZES if hasattr(args, name)}
    workload = Workload(repeats=args.repeats, seed=args.seed, **sizes)
    llm = open_llm(args, max_batch=workload.batch, prefix_cache=False)
    with progress_bar("measuring", "repeats") as progress:
        result = bench_offline(llm, workload, lambda done: progress(done, args.repeats))
    report = _report(args, workload, llm, result)
    bench_against.write_json(report, args.json, _text(report))
    return 0


def _report(args: argparse.Namespace, workload: Workload, llm: LLM, result: OfflineResult) -> dict[str, Any]:
    from redline.bench.ceiling import read_bandwidth
    from redline.bench.environment import environment
    from redline.config.resolve import resolve_runtime
    from redline.engine.memory import hardware

    threads = resolve_runtime(llm.config, hardware(), env.num_threads()).threads
    weights_bytes = _size(fetch(args.model))
    bandwidth = read_bandwidth(threads, num_bytes=weights_bytes)
    return {
        "command": ["redline", *args.argv],
        "model": args.model,
        "workload": asdict(workload),
        "result": asdict(result),
        **_comparable(args, workload, result),
        "threads": threads,
        "weights_bytes": weights_bytes,
        "kv_bytes": llm.kv_bytes,
        "read_bandwidth_bytes_s": bandwidth,
        # A decode step reads every weight once, whatever the batch. K/V reads come on top.
        "decode_bandwidth_share": result.decode_tok_s / workload.batch * weights_bytes / bandwidth,
        "reasons": list(llm.reasons),
        "environment": asdict(environment()),
    }


def _comparable(args: argparse.Namespace, workload: Workload, result: OfflineResult) -> dict[str, Any]:
    """What `redline bench compare` reads."""
    from redline.bench.offline import METRICS

    return {
        "kind": "offline",
        "measured": {"workload": str(workload), "model": args.model},
        "subjects": [
            {
                "name": "redline",
                "metrics": {name: METRICS[name].measured(values) for name, values in result.runs.items()},
            }
        ],
    }


def _size(model: Path) -> int:
    """Bytes of the weights' file or files."""
    files = [model] if model.is_file() else list(model.glob("*.safetensors"))
    return sum(file.stat().st_size for file in files)


def _text(report: dict[str, Any]) -> str:
    result, workload, where = report["result"], report["workload"], report["environment"]
    peak = result["peak_memory_bytes"]
    from redline.bench.results.metric import spread_text

    spread = {name: spread_text(each) for name, each in report["subjects"][0]["metrics"].items()}
    rows = [
        ("prefill", f"{result['prefill_tok_s']:.1f} tok/s  {spread['prefill_tok_s']}"),
        ("decode", f"{result['decode_tok_s']:.1f} tok/s  {spread['decode_tok_s']}"),
        ("TTFT", f"{result['ttft_s'] * 1e3:.1f} ms  {spread['ttft_s']}"),
        ("TPOT", f"{result['tpot_s'] * 1e3:.2f} ms  {spread['tpot_s']}"),
        ("peak memory", "unknown" if peak is None else f"{peak / 2**20:.0f} MiB"),
        ("weights", f"{report['weights_bytes'] / 2**20:.0f} MiB"),
        ("K/V budget", f"{report['kv_bytes'] / 2**20:.0f} MiB"),
        (
            "ceiling",
            f"{report['read_bandwidth_bytes_s'] / 1e9:.1f} GB/s read by {report['threads']} threads "
            "over as much memory; "
            f"decode reads its weights at {report['decode_bandwidth_share']:.0%} of that",
        ),
        ("machine", f"{where['cpu']}, {where['num_cores']} cores, {where['memory_bytes'] / 2**30:.0f} GiB"),
        ("commit", f"{where['commit'] or 'none'} (redline {where['redline']}, numpy {where['numpy']})"),
        ("command", " ".join(report["command"])),
    ]
    title = "{model}: batch {batch}, {prompt_tokens} prompt tokens, {output_tokens} output tokens"
    lines = [title.format(model=report["model"], **workload) + f", median of {workload['repeats']}"]
    return "\n".join([*lines, *(f"{name:<12} {text}" for name, text in rows)]) + "\n"
