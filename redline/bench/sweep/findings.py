"""findings(): a sweep as plain data: what was run, what was measured, and which settings stand out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from redline.bench.sweep.knee import frontier, knee
from redline.bench.sweep.measure import as_json
from redline.bench.sweep.metrics import metrics_of
from redline.bench.sweep.sweep import SweepPlan, Swept
from redline.bench.sweep.target import best, closest


def findings(plan: SweepPlan, swept: Sequence[Swept]) -> dict[str, Any]:
    """What was run and measured, and the places in "settings" of the knee, the best and the closest.

    The latency of the knee and the plot is the time per output token, or that to the first one when the
    target is of that alone.
    """
    target, points = plan.target, [each.median for each in swept]
    latency = "ttft_s" if target.ttft_s is not None and target.tpot_s is None else "tpot_s"
    curve = [(getattr(point, latency)[target.percentile], point.output_tok_s) for point in points]
    return {
        "kind": "sweep",
        "subjects": [{"name": "redline", "metrics": metrics_of(swept), "notes": []}],
        "load": asdict(plan.load),
        "load_text": plan.load.describe(),
        "repeats": plan.repeats,
        "target": asdict(target),
        "target_text": str(target) or None,
        "latency": latency,
        "settings": [
            {
                **asdict(each.setting),
                **as_json(point),
                "meets": target.excess(point) <= 1 if target.given else None,
                "excess": target.excess(point) if target.given else None,
                "runs": [as_json(run) for run in each.runs],
            }
            for each, point in zip(swept, points, strict=True)
        ],
        "curve": frontier(curve),
        "knee": knee(curve),
        "best": best(points, target),
        "closest": closest(points, target) if target.given else None,
    }
