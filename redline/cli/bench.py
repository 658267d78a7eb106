"""redline bench: measure speed and memory on this machine."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redline import env
from redline.cli.engine_flags import add_engine_flags
from redline.cli.loading import fetch, open_llm
from redline.cli.terminal import progress_bar

if TYPE_CHECKING:
    from redline.bench.offline import OfflineResult, Workload
    from redline.llm import LLM


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    summary = "one batch of equal requests, without a server"
    offline = kinds.add_parser("offline", help=summary, description=f"Measure {summary}.")
    offline.add_argument("--batch", type=int, default=1, metavar="N", help="requests at once (default: 1)")
    offline.add_argument("--prompt-tokens", type=int, default=128, metavar="N", help="default: 128")
    offline.add_argument("--output-tokens", type=int, default=64, metavar="N", help="default: 64")
    offline.add_argument("--repeats", type=int, default=3, metavar="N", help="default: 3, after a warm-up")
    offline.add_argument("--seed", type=int, default=0, metavar="N", help="of the prompts (default: 0)")
    offline.add_argument("--json", action="store_true", help="print one JSON object")
    add_engine_flags(offline)


def run(args: argparse.Namespace) -> int:
    from redline.bench.offline import Workload, bench_offline

    workload = Workload(
        batch=args.batch,
        prompt_tokens=args.prompt_tokens,
        output_tokens=args.output_tokens,
        repeats=args.repeats,
        seed=args.seed,
    )
    llm = open_llm(args, max_batch=args.batch, prefix_cache=False)
    with progress_bar("repeats") as progress:
        result = bench_offline(llm, workload, lambda done: progress(done, args.repeats))
    report = _report(args, workload, llm, result)
    sys.stdout.write(json.dumps(report, indent=2) + "\n" if args.json else _text(report))
    return 0


def _report(args: argparse.Namespace, workload: Workload, llm: LLM, result: OfflineResult) -> dict[str, Any]:
    from redline.bench.ceiling import read_bandwidth
    from redline.bench.environment import environment
    from redline.config.resolve import resolve_runtime
    from redline.engine.memory import hardware

    threads = resolve_runtime(llm.config, hardware(), env.num_threads()).threads
    weights_bytes = _size(fetch(args.model))
    bandwidth = read_bandwidth(threads)
    return {
        "command": ["redline", *args.argv],
        "model": args.model,
        "workload": asdict(workload),
        "result": asdict(result),
        "threads": threads,
        "weights_bytes": weights_bytes,
        "kv_bytes": llm.kv_bytes,
        "read_bandwidth_bytes_s": bandwidth,
        # A decode step reads every weight once, whatever the batch. K/V reads come on top.
        "decode_bandwidth_share": result.decode_tok_s / workload.batch * weights_bytes / bandwidth,
        "reasons": list(llm.reasons),
        "environment": asdict(environment()),
    }


def _size(model: Path) -> int:
    """Bytes of the weights' file or files."""
    files = [model] if model.is_file() else list(model.glob("*.safetensors"))
    return sum(file.stat().st_size for file in files)


def _text(report: dict[str, Any]) -> str:
    result, workload, where = report["result"], report["workload"], report["environment"]
    peak = result["peak_memory_bytes"]
    rows = [
        ("prefill", f"{result['prefill_tok_s']:.1f} tok/s"),
        ("decode", f"{result['decode_tok_s']:.1f} tok/s"),
        ("TTFT", f"{result['ttft_s'] * 1e3:.1f} ms"),
        ("TPOT", f"{result['tpot_s'] * 1e3:.2f} ms"),
        ("peak memory", "unknown" if peak is None else f"{peak / 2**20:.0f} MiB"),
        ("weights", f"{report['weights_bytes'] / 2**20:.0f} MiB"),
        ("K/V budget", f"{report['kv_bytes'] / 2**20:.0f} MiB"),
        (
            "ceiling",
            f"{report['read_bandwidth_bytes_s'] / 1e9:.1f} GB/s read by {report['threads']} threads; "
            f"decode reads its weights at {report['decode_bandwidth_share']:.0%} of that",
        ),
        ("machine", f"{where['cpu']}, {where['num_cores']} cores, {where['memory_bytes'] / 2**30:.0f} GiB"),
        ("commit", f"{where['commit'] or 'none'} (redline {where['redline']}, numpy {where['numpy']})"),
        ("command", " ".join(report["command"])),
    ]
    title = "{model}: batch {batch}, {prompt_tokens} prompt tokens, {output_tokens} output tokens"
    lines = [title.format(model=report["model"], **workload) + f", median of {workload['repeats']}"]
    return "\n".join([*lines, *(f"{name:<12} {text}" for name, text in rows)]) + "\n"
