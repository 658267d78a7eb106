"""Statistics that outlive an engine: what the engines of one model have counted, one after the other."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redline.engine.ledger import Counts
    from redline.engine.outputs import EngineStats

# The fields of EngineStats that only grow; tests hold these two lists to the class.
COUNTERS = (
    "num_preemptions",
    "prompt_tokens",
    "generation_tokens",
    "prefix_queries",
    "prefix_hits",
    "num_steps",
    "prefix_hit_requests",
    "prefix_evictions",
    "offload_spilled_blocks",
    "offload_loaded_tokens",
    "draft_tokens",
    "accepted_tokens",
)
OF_THE_LATEST = (
    "running",
    "waiting",
    "kv_usage",
    "num_blocks",
    "speculative_method",
    "weight_bytes",
    "kv_bytes",
    "block_size",
)


def added(before: EngineStats | None, now: EngineStats) -> EngineStats:
    """What `now` says, with the counts of the engines before it."""
    if before is None:
        return now
    counts = {name: getattr(before, name) + getattr(now, name) for name in COUNTERS}
    steps = Counter(before.speculative_steps) + Counter(now.speculative_steps)
    return replace(
        now,
        **counts,
        speculative_steps=dict(steps),
        requests=_counts(before.requests, now.requests),
        steps=before.steps.added(now.steps),
    )


def at_rest(stats: EngineStats) -> EngineStats:
    """The same of an engine that is gone: nothing runs."""
    return replace(stats, running=0, waiting=0, kv_usage=0.0, num_blocks=0, weight_bytes=0, kv_bytes=0)


def _counts(before: Counts, now: Counts) -> Counts:
    """Both laws of redline/engine/ledger.py hold of the sums too; time without an engine does not count."""
    elapsed_s = before.elapsed_s + now.elapsed_s
    arrived = before.arrived + now.arrived
    area = before.mean_in_flight * before.elapsed_s + now.mean_in_flight * now.elapsed_s
    spent_s = before.mean_s * before.arrived + now.mean_s * now.arrived
    return replace(
        now,
        arrived=arrived,
        finished=before.finished + now.finished,
        aborted=before.aborted + now.aborted,
        refused=before.refused + now.refused,
        elapsed_s=elapsed_s,
        mean_in_flight=area / elapsed_s if elapsed_s else 0.0,
        mean_s=spent_s / arrived if arrived else 0.0,
    )
