"""Checks of what is exact: the same tokens and log-probabilities, bit for bit, however they are computed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import partial

from redline.bench.verify.outcome import Check, Verdict
from redline.bench.verify.subject import ANSWER_TOKENS, Run, Subject, ask, difference, drawn, prompts
from redline.config.engine import EngineConfig
from redline.errors import ConfigError, ModelError
from redline.technique import Technique
from redline.techniques import TECHNIQUES

MANY_SEQUENCES = 64
SPARE_BLOCKS = 6  # beyond those of the longest prompt: so little memory that sequences give way to each other


def exactness_checks(subject: Subject, threads: int) -> Iterator[Check]:
    """First the ways to run, then every technique with a switch.

    With naive attention none: NumPy rounds a row as what shares its matrix has it.
    """
    if not EngineConfig(model=subject.model, **subject.options).flash_attention:
        return
    yield _check("batch of one, batch of many", partial(_batches, subject))
    yield _check("found in the prefix cache", partial(_cache_hit, subject))
    yield _check("little memory", partial(_little_memory, subject))
    yield _check("after a restart, from disk", partial(_restart, subject))
    yield _check("number of threads", partial(_threads, subject, threads))
    yield _check("seeds", partial(_seeds, subject))
    for technique in TECHNIQUES:
        if technique.promise == "exact" and technique.option is not None:
            yield _check(technique.name, partial(_switched, subject, technique))


def _check(name: str, run: Callable[[], Verdict]) -> Check:
    return Check(name=name, promise="exact", run=run)


def _same(expected: Run, got: Run, what: str) -> Verdict:
    found = difference(expected, got)
    return Verdict("holds", what) if found is None else Verdict("broken", f"{what}: {found}")


def _batches(subject: Subject) -> Verdict:
    got = subject.asked(max_batch=MANY_SEQUENCES)
    return _same(subject.plain, got, f"{len(got.answers)} prompts together against each alone")


def _cache_hit(subject: Subject) -> Verdict:
    llm = subject.open(prefix_cache=True)
    ask(llm)
    again = ask(llm)
    cached = sum(answer.num_cached for answer in again.answers)
    if not cached:
        return Verdict("broken", "prompts were asked twice, and nothing of them was found")
    return _same(subject.plain, again, f"{cached} prompt tokens found")


def _little_memory(subject: Subject) -> Verdict:
    llm = subject.open()
    block_size = llm.config.block_size
    longest = max(len(llm.tokenizer.encode(text)) for text in prompts()) + ANSWER_TOKENS
    blocks = -(-longest // block_size) + SPARE_BLOCKS
    num_bytes = llm.kv_bytes // llm.stats().num_blocks * blocks
    llm.close()
    got = subject.asked(kv_memory=max(num_bytes, 2**20))
    if not got.stats.num_preemptions:
        return Verdict("skipped", "a MiB holds everything, so nobody had to give way")
    return _same(subject.plain, got, f"{got.stats.num_preemptions} times a sequence gave way")


def _restart(subject: Subject) -> Verdict:
    with tempfile.TemporaryDirectory(prefix="redline-verify-") as folder:
        changes = {"prefix_cache": True, "cache_dir": folder}
        subject.asked(**changes)
        got = subject.asked(**changes)
    cached = sum(answer.num_cached for answer in got.answers)
    if not cached:
        return Verdict("broken", "nothing came back from disk")
    return _same(subject.plain, got, f"{cached} prompt tokens came back")


def _threads(subject: Subject, threads: int) -> Verdict:
    if threads == 1:
        return Verdict("skipped", "there is one thread")
    got = subject.asked(threads=1)
    return _same(subject.plain, got, f"1 against {threads}")


def _seeds(subject: Subject) -> Verdict:
    llm = subject.open()
    text = prompts()[0]
    first, again, other = (llm.generate(text, drawn(seed))[0].choices[0].token_ids for seed in (7, 7, 8))
    if first != again:
        return Verdict("broken", "one seed gave two answers")
    return Verdict("holds" if first != other else "broken", "one seed, one answer; two seeds, two answers")


def _switched(subject: Subject, technique: Technique) -> Verdict:
    assert technique.option is not None, f"{technique.name} is always on"
    name, value = technique.option
    with tempfile.TemporaryDirectory(prefix="redline-verify-") as folder:
        if name == "cache_dir":
            value = folder
        asked_for = EngineConfig(model=subject.model, **subject.options)
        try:
            changed = EngineConfig(model=subject.model, **{**subject.options, name: value})
        except ConfigError as error:
            return Verdict("skipped", f"{technique.switch} does not go with the other options: {error}")
        if changed == asked_for:
            return Verdict("skipped", f"{technique.switch} is what was asked for")
        try:
            got = subject.asked_once(name, value)
        except (ConfigError, ModelError) as error:  # such as a draft model with another vocabulary
            return Verdict("skipped", f"{technique.switch} does not go with this model: {error}")
    return _same(subject.plain, got, technique.switch)
