"""Techniques on and off, where each has something to do, and what the engine counted of it.

The order of a queue shows when there is one, host memory when blocks leave the cache, jump-ahead when a
grammar forces tokens.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from redline.bench.verify.outcome import Verdict
from redline.bench.verify.subject import PARTIAL_CHUNK, Run, Subject, compared
from redline.config.engine import EngineConfig
from redline.errors import ConfigError, ModelError
from redline.technique import Technique

OFFLOAD = "64MiB"  # more than the prompts take
TREES = {"method": "ngram", "num_speculative_tokens": 5, "num_branches": 3, "min_match": 1}
QUEUE = {"max_batch": 3}  # of ten prompts: the others wait
CROWD = {**QUEUE, "chunked_prefill": 2 * PARTIAL_CHUNK}


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """Options with which a technique has something to do.

    `twice`: only with prompts that come back. `shows` says what was done; empty: nothing.
    """

    options: dict[str, Any] = field(default_factory=dict)
    twice: bool = False
    shows: Callable[[list[Run]], str] = lambda runs: "asked"


def _drafted(runs: list[Run]) -> str:
    stats = runs[-1].stats
    return f"{stats.accepted_tokens} of {stats.draft_tokens} drafts right" if stats.draft_tokens else ""


def _remembered(runs: list[Run]) -> str:
    """The second time the answers are known, so more drafts are right than the prompts alone gave."""
    first, both = (run.stats.accepted_tokens for run in runs)
    return f"{first} drafts right, then {both - first}" if both > 2 * first else ""


DRAFTS = Circumstances(shows=_drafted)
CIRCUMSTANCES = {
    "continuous-batching": Circumstances(options=QUEUE),
    "chunked-prefill": Circumstances(options=QUEUE),
    "prompt-share": Circumstances(options=CROWD),
    "step-time": Circumstances(options=CROWD),
    "decode-first": Circumstances(options=CROWD),
    "admission-order": Circumstances(options=CROWD),
    "fair-order": Circumstances(options=CROWD),
    "history-speculation": Circumstances(twice=True, shows=_remembered),
    **dict.fromkeys(
        (
            "ngram-speculation",
            "draft-model",
            "self-speculation",
            "medusa-heads",
            "eagle",
            "draft-depth",
            "adaptive-drafts",
        ),
        DRAFTS,
    ),
}


def switched(subject: Subject, technique: Technique) -> Verdict:
    """Whether the switch of a technique changes no bit."""
    assert technique.option is not None, f"{technique.name} is always on"
    own = OWN.get(technique.name)
    name, value = _own_model(subject, *technique.option)
    try:
        changed = EngineConfig(model=subject.model, **{**subject.options, name: value})
    except ConfigError as error:
        return Verdict("skipped", f"{technique.switch} does not go with the other options: {error}")
    asked_for = EngineConfig(model=subject.model, **subject.options)
    if changed == asked_for and value == technique.option[1]:
        return Verdict("skipped", f"{technique.switch} is what was asked for")
    try:
        return own(subject) if own is not None else _changed(subject, technique, name, value)
    except (ConfigError, ModelError) as error:  # such as a draft model with another vocabulary
        return Verdict("skipped", f"{technique.switch} does not go with this model: {error}")


def _own_model(subject: Subject, name: str, value: Any) -> tuple[str, Any]:
    """With the heads or the draft model of the user, where these are of the same method."""
    mine = subject.options.get(name)
    same = isinstance(value, dict) and isinstance(mine, dict) and mine.get("method") == value["method"]
    return name, mine if same and "model" in value else value


def _changed(subject: Subject, technique: Technique, name: str, value: Any) -> Verdict:
    needed = CIRCUMSTANCES.get(technique.name, Circumstances())
    runs = subject.asked_once({**needed.options, name: value}, twice=needed.twice)
    done = needed.shows(runs)
    if not done:
        return Verdict("skipped", f"{technique.switch}: it found nothing to do")
    others = ", ".join(f"{option}={setting}" for option, setting in needed.options.items())
    what = f"{technique.switch}{f' with {others}' if others else ''}"
    return compared(subject.plain, *runs, what=what if done == "asked" else f"{what}: {done}")


def from_disk(subject: Subject) -> Verdict:
    """A second engine finds what the first one has stored. Computed once, for two checks ask."""
    return subject.once("from disk", lambda: _from_disk(subject))


def _from_disk(subject: Subject) -> Verdict:
    with tempfile.TemporaryDirectory(prefix="redline-verify-") as folder:
        changes = {"prefix_cache": True, "cache_dir": folder, "offload_memory": None}
        runs = [subject.asked(**changes) for _ in range(2)]
    # Of num_cached, part is what the prompts of one round share with each other.
    loaded = [run.stats.offload_loaded_tokens for run in runs]
    if not loaded[1]:
        return Verdict("broken", "nothing came back from disk")
    if loaded[0]:
        return Verdict("broken", f"{loaded[0]} tokens came from an empty folder")
    return compared(subject.plain, *runs, what=f"{loaded[1]} prompt tokens came back")


def _from_host_memory(subject: Subject) -> Verdict:
    """With so little memory for the cache that blocks leave it before their prompts come back."""
    changes = {"prefix_cache": True, "offload_memory": OFFLOAD, "cache_dir": None, "max_batch": 2}
    runs = subject.asked_twice(**changes, kv_memory=subject.little_memory)
    stats = runs[-1].stats
    if not stats.offload_spilled_blocks:
        return Verdict("skipped", "there was memory enough, so nothing left the cache")
    if not stats.offload_loaded_tokens:
        return Verdict("broken", f"{stats.offload_spilled_blocks} blocks were stored, and nothing came back")
    what = f"{stats.offload_spilled_blocks} blocks stored, {stats.offload_loaded_tokens} tokens came back"
    return compared(subject.plain, *runs, what=what)


def _within_a_form(subject: Subject) -> Verdict:
    on, off = (subject.formed(jump_ahead=each, speculative=None) for each in (True, False))
    if on.stats.num_steps >= off.stats.num_steps:
        return Verdict("skipped", "jump_ahead=False: the schema forced no token")
    what = f"jump_ahead=False within a schema: {off.stats.num_steps} steps for {on.stats.num_steps}"
    return compared(off, on, what=what)


def _in_branches(subject: Subject) -> Verdict:
    """Branches are computed where they are predicted to pay, so only some texts have any."""
    alone, _ = subject.forked(speculative=None)
    got, num_tokens = subject.forked(speculative=TREES)
    if not num_tokens:
        return Verdict("skipped", "no branch was right for longer than the drafts beside it")
    return compared(alone, got, what=f"{num_tokens} tokens came from branches")


OWN: dict[str, Callable[[Subject], Verdict]] = {
    "kv-offload": _from_host_memory,
    "disk-cache": from_disk,
    "token-trees": _in_branches,
    "jump-ahead": _within_a_form,
}
