"""The report of one batch without a server: for `redline bench compare`, and as a table for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from redline.bench.offline import METRICS, OfflineResult, Workload
from redline.bench.results.document import machine_of, runs_text
from redline.bench.results.metric import quoted, spread_text, value_text

MIB = 2**20


def offline_report(
    model: str, workload: Workload, result: OfflineResult, engine: Mapping[str, Any]
) -> dict[str, Any]:
    """What was run and measured. The circumstances (results/document.py) are the caller's to add.

    `engine`: threads, weights_bytes, kv_bytes, read_bandwidth_bytes_s, reasons.
    """
    medians = {name: result.median(name) for name in METRICS}
    steps_s = medians["decode_tok_s"] / workload.batch
    return {
        "kind": "offline",
        "measured": {"workload": str(workload), "model": model, "threads": engine["threads"]},
        "subjects": [{"name": "redline", "metrics": result.measured(), "notes": []}],
        "repeats": workload.repeats,
        "interrupted": result.interrupted,
        "model": model,
        "workload": asdict(workload),
        "result": {**medians, "peak_memory_bytes": result.peak_memory_bytes},
        **engine,
        # A decode step reads every weight once, whatever the batch. K/V reads come on top.
        "decode_bandwidth_share": steps_s * engine["weights_bytes"] / engine["read_bandwidth_bytes_s"],
    }


def as_text(report: dict[str, Any]) -> str:
    """The numbers with their intervals, then what a reader needs to judge them."""
    lines = [f"{report['model']}: {report['measured']['workload']}", *_numbers(report), *_facts(report)]
    return "\n".join(lines) + "\n"


def _numbers(report: dict[str, Any]) -> list[str]:
    cells = [
        (each["title"], value_text(quoted(each), each["unit"]), spread_text(each))
        for each in report["subjects"][0]["metrics"].values()
    ]
    widths = [max(len(row[column]) for row in cells) for column in (1, 2)]
    return [
        f"{title:<12} {value:>{widths[0]}}  {spread:>{widths[1]}}".rstrip() for title, value, spread in cells
    ]


def _facts(report: dict[str, Any]) -> list[str]:
    where, peak = report["environment"], report["result"]["peak_memory_bytes"]
    ceiling = (
        f"{report['read_bandwidth_bytes_s'] / 1e9:.1f} GB/s read by {report['threads']} threads over as much "
        f"memory; decode reads its weights at {report['decode_bandwidth_share']:.0%} of that"
    )
    rows = [
        ("peak memory", "unknown" if peak is None else f"{peak / MIB:.0f} MiB"),
        ("weights", f"{report['weights_bytes'] / MIB:.0f} MiB"),
        ("K/V budget", f"{report['kv_bytes'] / MIB:.0f} MiB"),
        ("ceiling", ceiling),
        ("runs", runs_text(report["subjects"])),
        ("machine", f"{machine_of(where)}, load average before {report['load_before']:.2f}"),
        ("commit", f"{where['commit'] or 'none'} (redline {where['redline']}, numpy {where['numpy']})"),
        ("command", " ".join(report["command"])),
    ]
    return [f"{name:<12} {text}" for name, text in rows]
