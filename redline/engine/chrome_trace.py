"""Events as a file that chrome://tracing and Perfetto show: a track of steps, a track for each sequence."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from redline.core.trace import EVERYONE, Event

ENGINE, SEQUENCES = 1, 2  # "processes" of the picture
# The event that begins a phase of a sequence, and the name of the phase.
PHASES = {"queue": "queued", "admit": "running", "preempt": "preempted", "finish": ""}


def write_chrome_trace(path: Path, events: Iterable[Event]) -> None:
    """Write a JSON file. Raises OSError."""
    path.write_text(json.dumps({"traceEvents": chrome_events(events), "displayTimeUnit": "ms"}))


def chrome_events(events: Iterable[Event]) -> list[dict[str, Any]]:
    """In the Trace Event Format; times in microseconds."""
    out = [_name(ENGINE, "engine"), _name(SEQUENCES, "sequences")]
    begun: dict[int, tuple[str, float]] = {}  # phase and its begin, by sequence
    for event in events:
        at_us = event.time_s * 1e6
        if event.seq_id == EVERYONE:
            out += _engine_event(event, at_us)
            continue
        if event.kind not in PHASES:
            out.append(_instant(SEQUENCES, event.seq_id, event, at_us))
            continue
        phase, begin_us = begun.pop(event.seq_id, ("", 0.0))
        if phase:
            out.append(_slice(event.seq_id, phase, begin_us, at_us, event))
        if PHASES[event.kind]:
            begun[event.seq_id] = (PHASES[event.kind], at_us)
    return out


def _engine_event(event: Event, at_us: float) -> list[dict[str, Any]]:
    if event.kind != "step":
        return [_instant(ENGINE, 0, event, at_us)]
    decodes, prompt_tokens, running, waiting, available = event.values
    counters = {
        "tokens": {"decode": decodes, "prompt": prompt_tokens},
        "sequences": {"running": running, "waiting": waiting},
        "blocks": {"available": available},
    }
    return [
        {"name": name, "ph": "C", "pid": ENGINE, "ts": at_us, "args": args} for name, args in counters.items()
    ]


def _slice(seq_id: int, phase: str, begin_us: float, end_us: float, event: Event) -> dict[str, Any]:
    return {
        "name": phase,
        "ph": "X",
        "pid": SEQUENCES,
        "tid": seq_id,
        "ts": begin_us,
        "dur": end_us - begin_us,
        "args": {"ended by": event.kind, "with": list(event.values)},
    }


def _instant(process: int, thread: int, event: Event, at_us: float) -> dict[str, Any]:
    args = {"values": list(event.values), "step": event.step}
    return {"name": event.kind, "ph": "i", "s": "t", "pid": process, "tid": thread, "ts": at_us, "args": args}


def _name(process: int, name: str) -> dict[str, Any]:
    return {"name": "process_name", "ph": "M", "pid": process, "args": {"name": name}}
