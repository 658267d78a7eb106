"""Snapshot: what an engine is doing, for who looks at it. Nobody looks: it costs nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from redline.core.block_map import BlockMap, block_map
from redline.core.explain import sentence
from redline.core.roofline import Roofline
from redline.core.sequence import Sequence, Status
from redline.core.trace import EVERYONE, Event

if TYPE_CHECKING:
    from redline.engine.engine import Engine
    from redline.engine.outputs import EngineStats
    from redline.engine.request import ActiveRequest

MAX_EVENTS = 2048  # of the trace that are read for one snapshot
DECISIONS = {"queue", "refuse", "admit", "load", "preempt", "finish", "guess"}  # what is not every step's


class Step(NamedTuple):
    """A step that was begun at `time_s` of the engine's clock.

    `least_s`: the seconds that it takes at the roofline of the machine, with the contexts of now; None: it is
    not known.
    """

    number: int
    time_s: float
    num_decodes: int
    prompt_tokens: int
    running: int
    waiting: int
    least_s: float | None


class Drafts(NamedTuple):
    """Tokens that a step computed before they were known, and those of them that came."""

    step: int
    computed: int
    accepted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Of the scheduler. `request_id`: "" when it is about no single request, or one that is forgotten."""

    time_s: float
    step: int
    request_id: str
    kind: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestState:
    """A request that waits or runs; nothing of what it says. Counts of tokens, times in seconds.

    state: waiting, preempted (it ran, and waits again), prefill, decode.
    """

    request_id: str
    tenant: str
    state: str
    age_s: float
    prompt_tokens: int
    computed_tokens: int  # of prompt and output, whose keys and values are in the cache
    cached_tokens: int
    output_tokens: int  # of the longest of its choices
    num_choices: int  # that go on
    preemptions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """An engine at `time_s` of its clock. `next_event`: what to ask for next time, to get what is new."""

    time_s: float
    next_event: int
    stats: EngineStats
    max_batch: int
    requests: list[RequestState]
    steps: list[Step]
    drafts: list[Drafts]
    decisions: list[Decision]
    pools: list[BlockMap]


def snapshot(engine: Engine, since: int, roofline: Roofline | None) -> Snapshot:
    """An engine now, with the latest of its decisions from event number `since` on.

    May be called from another thread: it copies what it reads, and holds nothing up. What is read while a
    step changes it may be a step apart.
    """
    scheduler = engine.scheduler
    now_s = engine.now_s()
    events, next_event = scheduler.trace.since(since, MAX_EVENTS)
    active = engine.active_requests()
    context_tokens = sum(seq.num_computed_tokens for each in active for seq in each.sequences)
    pinned = list(scheduler.pins.blocks())
    return Snapshot(
        time_s=now_s,
        next_event=next_event,
        stats=engine.stats(),
        max_batch=scheduler.config.max_batch,
        requests=[_request(each, now_s) for each in active],
        steps=[_step(event, roofline, context_tokens) for event in events if event.kind == "step"],
        drafts=drafts_of(events),
        decisions=_decisions(engine, events),
        pools=[
            block_map(pool, {block for each, block in pinned if each == group})
            for group, pool in enumerate(scheduler.pools)
        ],
    )


def _request(request: ActiveRequest, now_s: float) -> RequestState:
    seqs = request.sequences
    lead = request.choices[0].seq
    return RequestState(
        request_id=request.request_id,
        tenant=lead.tenant,
        state=_state(seqs),
        age_s=max(0.0, now_s - lead.arrival_s),
        prompt_tokens=len(lead.prompt_token_ids),
        computed_tokens=max((seq.num_computed_tokens for seq in seqs), default=0),
        cached_tokens=lead.num_cached_tokens,
        output_tokens=max((len(seq.output_token_ids) for seq in seqs), default=0),
        num_choices=len(seqs),
        preemptions=sum(seq.num_preemptions for seq in seqs),
    )


def _state(seqs: list[Sequence]) -> str:
    running = [seq for seq in seqs if seq.status is Status.RUNNING]
    if not running:
        return "preempted" if any(seq.num_preemptions for seq in seqs) else "waiting"
    return "decode" if any(seq.num_uncomputed_tokens <= 1 for seq in running) else "prefill"


def _step(event: Event, roofline: Roofline | None, context_tokens: int) -> Step:
    num_decodes, prompt_tokens, running, waiting = (int(value) for value in event.values[:4])
    least_s = None
    if roofline is not None:
        least_s = roofline.step_s(num_decodes, prompt_tokens, context_tokens)
    return Step(event.step, event.time_s, num_decodes, prompt_tokens, running, waiting, least_s)


def drafts_of(events: Iterable[Event]) -> list[Drafts]:
    """One for each step that had drafts, of all sequences together."""
    found: dict[int, Drafts] = {}
    for event in events:
        if event.kind == "draft":
            _, computed, accepted = found.get(event.step, (event.step, 0, 0))
            num_drafts, num_right = (int(value) for value in event.values)
            found[event.step] = Drafts(event.step, computed + num_drafts, accepted + num_right)
    return list(found.values())


def _decisions(engine: Engine, events: Iterable[Event]) -> list[Decision]:
    chosen = [event for event in events if event.kind in DECISIONS]
    names = engine.request_ids({event.seq_id for event in chosen} - {EVERYONE})
    return [
        Decision(
            time_s=event.time_s,
            step=event.step,
            request_id=names.get(event.seq_id, ""),
            kind=event.kind,
            text=sentence(event),
        )
        for event in chosen
        if event.seq_id == EVERYONE or event.seq_id in names
    ]
