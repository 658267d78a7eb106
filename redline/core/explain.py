"""Events in words: what happened to one request, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from redline.core.trace import Event


def explain(events: Sequence[Event]) -> list[str]:
    """A sentence for each event of a request, oldest first, with the seconds since the first of them."""
    if not events:
        return []
    start_s = events[0].time_s
    return [f"{event.time_s - start_s:+.3f} s: {sentence(event)}" for event in events]


def sentence(event: Event) -> str:
    """One event in words."""
    return _SENTENCES[event.kind](event)


def _queue(event: Event) -> str:
    num_prompt, num_ahead = event.values
    return f"queued with a prompt of {num_prompt} tokens, {_count(num_ahead, 'request')} waiting already"


def _refuse(event: Event) -> str:
    missing, available = event.values
    return f"next in line, but it needs {_count(missing, 'block')} and {available} could be had"


def _admit(event: Event) -> str:
    cached, to_compute = event.values
    if not cached:
        return f"admitted; nothing of it was cached, {_count(to_compute, 'token')} to compute"
    return (
        f"admitted; {_count(cached, 'token')} were cached, where the nearest cached text goes another way; "
        f"{_count(to_compute, 'token')} to compute"
    )


def _load(event: Event) -> str:
    return f"{_count(event.values[0], 'block')} of what was cached came from host memory or disk"


def _chunk(event: Event) -> str:
    first, num_tokens = event.values
    return f"step {event.step} computed {_count(num_tokens, 'token')} of its prompt from position {first} on"


def _draft(event: Event) -> str:
    num_drafts, num_right = event.values
    return f"step {event.step} computed {_count(num_drafts, 'guessed token')}, {num_right} of them right"


def _branch(event: Event) -> str:
    num_own, num_shared = event.values
    return f"step {event.step} went on with another guess after {num_shared}: {_count(num_own, 'token')} more"


def _guess(event: Event) -> str:
    method, outcome = event.values
    return f"from step {event.step} on, guessing ahead ({method}): {outcome}"


def _preempt(event: Event) -> str:
    num_again, reason = event.values
    return f"gave way in step {event.step}: {reason}; {_count(num_again, 'token')} to compute again"


def _finish(event: Event) -> str:
    reason, num_output = event.values
    return f"ended ({reason}) after {_count(num_output, 'output token')}"


def _others(event: Event) -> str:
    return f"{event.kind} {', '.join(map(str, event.values))}"


def _count(number: Any, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


_SENTENCES: dict[str, Callable[[Event], str]] = {
    "queue": _queue,
    "refuse": _refuse,
    "admit": _admit,
    "load": _load,
    "chunk": _chunk,
    "draft": _draft,
    "branch": _branch,
    "preempt": _preempt,
    "finish": _finish,
    "evict": _others,
    "step": _others,
    "guess": _guess,
}
