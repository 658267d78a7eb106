"""metrics_of(): every number of a sweep with its runs and interval, for its report and bench compare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redline.bench.results.metric import Metric
from redline.bench.sweep.grid import Setting
from redline.bench.sweep.sweep import Swept

RATES = {
    "output_tok_s": Metric("output", "tok/s", "higher", "median"),
    "total_tok_s": Metric("input and output", "tok/s", "higher", "median"),
    "occupancy": Metric("running", "requests", "neither", "median"),
}
TIMES = {"ttft_s": "TTFT", "tpot_s": "TPOT"}


def metrics_of(swept: Sequence[Swept]) -> dict[str, Any]:
    """By key()."""
    found = {}
    for each in swept:
        for name, metric in RATES.items():
            values = [getattr(run, name) for run in each.runs]
            found[key(each.setting, name)] = _titled(each.setting, metric).measured(values)
        for name, title in TIMES.items():
            for share in getattr(each.runs[0], name):
                metric = Metric(f"{title} p{share:g}", "s", "lower", "median")
                values = [getattr(run, name)[share] for run in each.runs]
                found[key(each.setting, name, f"p{share:g}")] = _titled(each.setting, metric).measured(values)
    return found


def key(setting: Setting, name: str, share: str = "") -> str:
    """Of a number in a report: "batch 8, budget 512 ttft_s p95"."""
    return f"{setting} {name} {share}".rstrip()


def _titled(setting: Setting, metric: Metric) -> Metric:
    return Metric(f"{setting}: {metric.title}", metric.unit, metric.better, metric.quotes)
