"""Checks of what is exact: the same tokens and log-probabilities, bit for bit, however they are computed.

Equal answers prove nothing about what did not happen, so each check first asks the engine's counters whether
it did, and is skipped, or broken, where it did not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from redline.bench.verify.outcome import Check, Verdict
from redline.bench.verify.subject import (
    NOTHING_KEPT,
    PARTIAL_CHUNK,
    Run,
    Subject,
    compared,
    drawn,
    prompts,
)
from redline.bench.verify.switches import from_disk, switched
from redline.config.engine import EngineConfig
from redline.errors import ConfigError
from redline.techniques import TECHNIQUES

MANY_SEQUENCES = 64
NAIVE = (
    "naive attention is not exact: NumPy rounds a row as what shares its matrix has it; "
    "verify without --no-flash-attention"
)
SMALL_BLOCK = 4  # tokens
NO_BLOCKS = "without a cache in blocks nothing is found again"


def exactness_checks(subject: Subject, threads: int) -> Iterator[Check]:
    """First the ways to run, then every technique with a switch. With naive attention all are skipped."""
    ways: list[tuple[str, Callable[[], Verdict]]] = [
        ("batch of one, batch of many", partial(_batches, subject)),
        ("prompts in chunks", partial(_chunks, subject)),
        ("found in the prefix cache", partial(_cache_hit, subject)),
        ("little memory", partial(_little_memory, subject)),
        ("after eviction", partial(_evicted, subject)),
        ("after a restart, from disk", partial(from_disk, subject)),
        ("number of threads", partial(_threads, subject, threads)),
        ("seeds", partial(_seeds, subject)),
    ]
    checks = [(name, partial(_possible, run)) for name, run in ways]
    checks += [
        (technique.name, partial(switched, subject, technique))
        for technique in TECHNIQUES
        if technique.promise == "exact" and technique.option is not None
    ]
    naive = not EngineConfig(model=subject.model, **subject.options).flash_attention
    for name, run in checks:
        yield Check(name=name, promise="exact", run=_nothing if naive else run)


def _possible(run: Callable[[], Verdict]) -> Verdict:
    """Options may exclude a way to run, as no K/V cache excludes one on disk."""
    try:
        return run()
    except ConfigError as error:
        return Verdict("skipped", f"it does not go with the other options: {error}")


def _nothing() -> Verdict:
    return Verdict("skipped", NAIVE)


def _batches(subject: Subject) -> Verdict:
    got = subject.asked(max_batch=MANY_SEQUENCES)
    if got.stats.num_steps >= subject.plain.stats.num_steps:
        return Verdict("skipped", f"no two of {len(got.answers)} prompts shared a step")
    return compared(subject.plain, got, what=f"{len(got.answers)} prompts together against each alone")


def _chunks(subject: Subject) -> Verdict:
    """Chunks end in the middle of blocks, and all but the first look back at earlier ones."""
    got = subject.asked(**{**NOTHING_KEPT, "chunked_prefill": PARTIAL_CHUNK, "max_batch": 2})
    return compared(subject.plain, got, what=f"prompts in chunks of at most {PARTIAL_CHUNK} tokens")


def _cache_hit(subject: Subject) -> Verdict:
    """What the first round shares while it runs is not what the second one finds."""
    if not subject.keeps_blocks:
        return Verdict("skipped", NO_BLOCKS)
    first, again = subject.asked_twice(prefix_cache=True, offload_memory=None, cache_dir=None)
    before, cached = _cached(first), _cached(again)
    if cached <= before:
        return Verdict("broken", f"prompts were asked twice: {before} tokens found, then {cached}")
    return compared(
        subject.plain, first, again, what=f"{cached} prompt tokens found, {before} the first time"
    )


def _little_memory(subject: Subject) -> Verdict:
    """In small blocks, so that even a short answer soon asks for one more."""
    got = subject.asked(kv_memory=subject.little_memory, block_size=SMALL_BLOCK)
    if not got.stats.num_preemptions:
        return Verdict("skipped", "there was memory enough, so nobody had to give way")
    return compared(subject.plain, got, what=f"{got.stats.num_preemptions} times a sequence gave way")


def _evicted(subject: Subject) -> Verdict:
    """Prompts come back after some of their blocks have been given to others."""
    if not subject.keeps_blocks:
        return Verdict("skipped", NO_BLOCKS)
    changes = {"prefix_cache": True, "offload_memory": None, "cache_dir": None, "max_batch": 2}
    runs = subject.asked_twice(**changes, kv_memory=subject.little_memory)
    evictions, cached = runs[-1].stats.prefix_evictions, _cached(runs[-1])
    if not evictions:
        return Verdict("skipped", "there was memory enough, so nothing was evicted")
    return compared(subject.plain, *runs, what=f"{evictions} blocks evicted, {cached} prompt tokens found")


def _cached(run: Run) -> int:
    return sum(answer.num_cached for answer in run.answers)


def _threads(subject: Subject, threads: int) -> Verdict:
    if threads == 1:
        return Verdict("skipped", "there is one thread")
    return compared(subject.plain, subject.asked(threads=1), what=f"1 against {threads}")


def _seeds(subject: Subject) -> Verdict:
    with subject.opened() as llm:
        text = prompts()[0]
        first, again, other = (llm.generate(text, drawn(seed))[0].choices[0].token_ids for seed in (7, 7, 8))
    if first != again:
        return Verdict("broken", "one seed gave two answers")
    return Verdict("holds" if first != other else "broken", "one seed, one answer; two seeds, two answers")
