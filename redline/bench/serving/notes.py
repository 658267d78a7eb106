"""What a reader of a serving report should know beside the numbers, in sentences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from redline.bench.results.metric import value_text

# From here on the generator may be part of what it measures.
BUSY_CORES = 0.8
MERGED_SHARE = 0.01
LATE_S = 0.01


def notes_of(subject: dict[str, Any]) -> list[str]:
    """About one subject of a report."""
    return [*_counts(subject), *_failures(subject), *_usage(subject["usage"]), *_machine(subject)]


def _counts(subject: dict[str, Any]) -> Iterator[str]:
    failed = sum(row["count"] for row in subject["failures"].values())
    parts = [f"{subject['num_done']} requests answered", f"{failed} failed"]
    if subject["num_cut_off"]:
        parts.append(f"{subject['num_cut_off']} cut off")
    if subject["num_unsent"]:
        parts.append(f"{subject['num_unsent']} not sent (after a failure in their session, or an interrupt)")
    yield ", ".join(parts) + "."


def _failures(subject: dict[str, Any]) -> Iterator[str]:
    for kind, row in subject["failures"].items():
        wait = "" if row["retry_after_s"] is None else f", Retry-After {row['retry_after_s']:g} s"
        said = f": {row['first']}" if row["first"] else ""
        yield f"Failed, {kind}: {row['count']}{wait}{said}"


def _usage(usage: dict[str, Any]) -> Iterator[str]:
    if usage["chunks"]:
        cached = usage["cached_tokens"]
        share = (
            f" ({cached / usage['prompt_tokens']:.0%} cached)" if cached and usage["prompt_tokens"] else ""
        )
        yield (
            f"Tokens: {usage['prompt_tokens']} in{share}, {usage['output_tokens']} out, in {usage['chunks']} "
            f"chunks ({usage['tokens_per_chunk']:.2f} each)."
        )
    if usage["doubts"]:
        listed = ", ".join(f"{doubt} ({count})" for doubt, count in usage["doubts"].items())
        yield f"Usage that cannot be true, where each chunk counts as one token instead: {listed}."


def _machine(subject: dict[str, Any]) -> Iterator[str]:
    cpu, own = subject["cpu"], subject["generator"]
    parts = []
    if cpu["server_cores"] is not None:
        parts.append(f"server {cpu['server_cores']:.2f} cores")
    if own["cores"] is not None:
        parts.append(f"generator {own['cores']:.2f} cores")
    if cpu["machine_share"] is not None:
        parts.append(f"this machine {cpu['machine_share']:.0%} busy")
    yield f"Processors: {', '.join(parts)}." if parts else "Processors: unknown."
    if own["late_p99_s"] is None:
        return
    yield (
        f"Generator, p99: sent {value_text(own['late_p99_s'], 's')} late, read "
        f"{value_text(own['read_lag_p99_s'], 's')} behind the kernel's stamps; {own['merged_share']:.1%} of "
        "chunks came in one read with the one before."
    )
    if own["undated_share"] > MERGED_SHARE:
        yield "The kernel did not date all that came; the rest counts from when it was read."
    if _in_the_way(own):
        yield (
            "The generator, or what else runs on this machine, may be part of these numbers: give it a core "
            "of its own, or ask for less."
        )


def _in_the_way(own: dict[str, Any]) -> bool:
    late = own["read_lag_p99_s"] > LATE_S and own["merged_share"] > MERGED_SHARE
    return bool(own["cores"] > BUSY_CORES or own["late_p99_s"] > LATE_S or late)
