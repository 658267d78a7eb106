"""Engine: add requests, step, abort. One step is plan, forward, sample, update; no thread of its own."""

from __future__ import annotations

import itertools
import secrets
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from redline.cache.paged import PagedKV
from redline.config.pooling import PoolingParams
from redline.config.sampling import SamplingParams
from redline.core.drafts import num_branch_rows
from redline.core.explain import explain
from redline.core.plan import Branch, Plan, PlanItem
from redline.core.scheduler import Scheduler
from redline.core.sequence import Sequence
from redline.core.trace import EVERYONE, of_sequence
from redline.decoding.sampler import Sampled, Sampler, not_a_number
from redline.decoding.speculative.verify import num_kept
from redline.decoding.steps.build import Steps
from redline.decoding.structured.constraint import Constraint
from redline.engine.beams import BeamRequest, Beams, gang_of
from redline.engine.choice import ChoiceState
from redline.engine.chrome_trace import write_chrome_trace
from redline.engine.forward import Forward
from redline.engine.inputs import PromptEncoder
from redline.engine.layer_contrast import LayerContrast
from redline.engine.ledger import Ledger
from redline.engine.outputs import Delta, EngineStats
from redline.engine.prepare import prepare
from redline.engine.reload import NoReload, Reload
from redline.engine.request import NO_OPTIONS, ActiveRequest, RequestOptions
from redline.engine.scoring import Scored, Scorer, positions_to_score
from redline.engine.speculation import NoSpeculation, Speculation
from redline.engine.step_meter import StepMeter
from redline.engine.structured import StructuredDecoding
from redline.errors import QueueFull, RequestError
from redline.models.load import LoadedModel

MAX_EXPLAINED = 4096  # requests that explain() remembers


_Sampling = tuple[PlanItem, ActiveRequest, ChoiceState]


class _Drawn(NamedTuple):
    """The tokens of an item: those of its sequence, the last one new, and the first of its other choices."""

    own: list[Sampled]
    forked: list[Sampled]
    num_right: int  # of the drafts of the item; more may have come from a branch


def _take_drawn(drawn: Iterator[Sampled], item: PlanItem, request: ActiveRequest) -> _Drawn:
    own = _take_right(drawn, item.drafts)
    return _Drawn(own, list(itertools.islice(drawn, request.num_unforked)), len(own) - 1)


def _take_right(drawn: Iterator[Sampled], drafts: tuple[int, ...]) -> list[Sampled]:
    """What is drawn behind right drafts: these, and one more."""
    own = list(itertools.islice(drawn, 1 + len(drafts)))
    return own[: num_kept(drafts, [sample.token_id for sample in own]) + 1]


def _follow_branches(
    found: list[_Drawn], sampling: list[_Sampling], branches: tuple[Branch, ...], drawn: Iterator[Sampled]
) -> list[_Drawn]:
    """With the tokens of a branch where it was right for longer."""
    best = {item.seq.seq_id: each for (item, _, _), each in zip(sampling, found, strict=True)}
    for branch in branches:
        own = _take_right(drawn, branch.drafts)
        before = best[branch.seq.seq_id]
        if len(own) > len(before.own):
            best[branch.seq.seq_id] = before._replace(own=own)
    return list(best.values())


class Engine:
    """Runs many requests at once. Not thread-safe: one thread calls add, step and abort.

    Nothing in here asks which techniques are on: build.py hands in the parts.
    """

    def __init__(  # noqa: PLR0913 - its parts
        self,
        *,
        model: LoadedModel,
        kv: PagedKV,
        forward: Forward,
        scheduler: Scheduler,
        sampler: Sampler,
        beams: Beams,
        inputs: PromptEncoder,
        structured: StructuredDecoding,
        max_waiting: int,
        clock: Callable[[], float],
        scorer: Scorer,
        contrast: LayerContrast,
        reload: Reload | None = None,  # None: no slower memory
        speculation: Speculation | None = None,  # None: off
    ) -> None:
        self.model = model
        self.inputs = inputs
        self.structured = structured
        self.scheduler = scheduler
        self._kv = kv
        self._reload = reload or NoReload()
        self._speculation = speculation or NoSpeculation()
        self._forward = forward
        self._scorer = scorer
        self._contrast = contrast
        self._sampler = sampler
        self._beams = beams
        self._clock = clock
        self.ledger = Ledger(clock)
        self.meter = StepMeter()
        self._max_waiting = max_waiting
        self._requests: dict[str, ActiveRequest] = {}
        self._seq_ids_of: OrderedDict[str, list[int]] = OrderedDict()  # of the latest requests
        self._owner: dict[int, tuple[ActiveRequest, ChoiceState]] = {}
        self._seq_ids = itertools.count()
        self.num_steps = 0  # that computed something
        self._prompt_tokens = self._generation_tokens = 0
        self._draft_tokens = self._accepted_tokens = 0
        self._outcome = ""  # of guessing, in the latest step

    @property
    def has_work(self) -> bool:
        """True while a request is waiting or running."""
        return self.scheduler.has_work

    def add(
        self,
        request_id: str,
        prompt_token_ids: list[int],
        params: SamplingParams,
        options: RequestOptions = NO_OPTIONS,
        constraint: Constraint | None = None,
    ) -> None:
        """Queue a request whose prompt came from `inputs` and its constraint from `structured`, if not here.

        Raises RequestError when the parameters do not fit, CapacityError when the request can never fit the
        K/V memory, QueueFull when too many wait.
        """
        arrived = self.ledger.arrive()
        try:
            seq = self._admissible(request_id, prompt_token_ids, params, options)
            constraint = constraint or self.structured.constraint(params)
            self.scheduler.add(seq)
        except Exception:
            self.ledger.end("refused", arrived)
            raise
        seed = params.seed if params.seed is not None else secrets.randbits(63)
        lead = self._choice(0, seq, seed, constraint)
        request = ActiveRequest(request_id, prompt_token_ids, params, seed, lead, seq.arrival_s, arrived)
        if params.use_beam_search:
            request = self._beams.add(request)
        else:
            self._owner[seq.seq_id] = (request, lead)
        self._requests[request_id] = request
        self._seq_ids_of[request_id] = [seq.seq_id]
        if len(self._seq_ids_of) > MAX_EXPLAINED:
            self._seq_ids_of.popitem(last=False)
        self._prompt_tokens += len(prompt_token_ids)

    def _admissible(
        self, request_id: str, prompt_token_ids: list[int], params: SamplingParams, options: RequestOptions
    ) -> Sequence:
        """The sequence of a new request. Raises RequestError or QueueFull."""
        if request_id in self._requests:
            raise RequestError(f"request id {request_id!r} is in use; choose another", param="request_id")
        self.inputs.check_params(prompt_token_ids, params)
        self._contrast.check(params.dola_layer)
        if self.scheduler.num_waiting >= self._max_waiting:
            raise QueueFull(f"{self._max_waiting} requests are waiting already; try again later")
        arrival_s = self.now_s() if options.arrival_s is None else options.arrival_s
        # Nobody reads the logits of the last token when nothing follows it: it is not computed.
        ends = params.max_tokens == 0 and not isinstance(params, PoolingParams)
        computed = prompt_token_ids[:-1] if ends else prompt_token_ids
        return Sequence(
            next(self._seq_ids),
            list(computed or prompt_token_ids),
            params,
            arrival_s,
            priority=options.priority,
            tenant=options.tenant,
            deadline_s=None if options.deadline_s is None else arrival_s + options.deadline_s,
            pin_s=options.pin_s,
            salt=options.cache_salt,
            gang=gang_of(params),
            to_score=positions_to_score(len(prompt_token_ids), params),
        )

    def idle_for_s(self) -> float | None:
        """Seconds with nothing to do unless a request arrives; None: there is work now, or none at all."""
        until_s = self.scheduler.idle_until_s()
        return None if until_s is None else max(0.0, until_s - self.now_s()) or None

    def explain(self, request_id: str) -> list[list[str]] | None:
        """What happened to each choice of a request, in sentences; None: it is not among the latest.

        The first is the one that ran the prompt, of a beam search the only one. May be called from another
        thread.
        """
        seq_ids = self._seq_ids_of.get(request_id)
        if seq_ids is None:
            return None
        events = self.scheduler.trace.events()
        return [explain(of_sequence(events, seq_id)) for seq_id in list(seq_ids)]

    def active_requests(self) -> list[ActiveRequest]:
        """Those that wait or run, in the order of their arrival. May be called from another thread."""
        return list(self._requests.values())

    def request_ids(self, seq_ids: Collection[int]) -> dict[int, str]:
        """Whose these sequences are, of the latest requests. May be called from another thread."""
        latest = list(self._seq_ids_of.items()) if seq_ids else []
        return {seq_id: each for each, own in latest for seq_id in list(own) if seq_id in seq_ids}

    def write_trace(self, path: Path) -> None:
        """Write the events that are kept as a Chrome trace. Raises OSError."""
        write_chrome_trace(path, self.scheduler.trace.events())

    def reschedule(self, scheduler: Scheduler) -> None:
        """From now on plan with another scheduler, over as many blocks. Nothing may be waiting or running."""
        assert not self.has_work, f"{self.scheduler.num_running = } {self.scheduler.num_waiting = }"
        both = zip(scheduler.pools, self.scheduler.pools, strict=True)
        assert all(new.num_blocks <= old.num_blocks for new, old in both), f"{scheduler.pools = }"
        self.scheduler = scheduler

    def flush(self) -> None:
        """Say that no more requests will come for now: closed batches start with what waits."""
        self.scheduler.flush()

    def now_s(self) -> float:
        """The engine's clock."""
        return self._clock()

    def abort(self, request_id: str) -> None:
        """Forget a request and free what it held. Unknown ids are ignored: it may have just finished."""
        request = self._requests.pop(request_id, None)
        if request is None:
            return
        self.ledger.end("aborted", request.counted_s)
        self._beams.abort(request, self.scheduler)
        for choice in request.choices:
            if self._owner.pop(choice.seq.seq_id, None) is not None:
                self.scheduler.abort(choice.seq.seq_id)
                self._speculation.ended(choice.seq)

    def step(self) -> list[Delta]:
        """Run one iteration; returns what it added to each request, in the order of the batch."""
        began_s = self._clock()
        choices = [choice for _, choice in self._owner.values()]
        drafts = self._speculation.drafts(choice.seq for choice in choices)
        branches = self.structured.branches(choices, self._speculation.branches)
        num_rows = self.scheduler.num_running + num_branch_rows(branches)
        drafts = self.structured.drafts(choices, drafts, num_rows)
        plan = self.scheduler.schedule(drafts, branches)
        self._tell_outcome()
        if not plan.items:
            return []
        if plan.copies:
            self._kv.copy(plan.copies)
        plan = self._reload.load(plan, self.scheduler)
        if not plan.items:
            self.scheduler.update(plan, {})
            return []
        plan = self._speculation.complete(plan, self.scheduler)
        self.structured.start_masks(
            (self._owner[item.seq.seq_id][1], item.drafts)
            for item in plan.items
            if item.samples and item.seq.seq_id in self._owner
        )
        started_s = self._clock()
        scored = self._compute(plan)
        seconds = self._clock() - started_s
        self._reload.computed(plan, seconds)
        self._speculation.computed(plan)
        if not self._forward.prepared and not scored.by_seq and not scored.pooled:
            self._speculation.measured(plan, seconds)
        self.structured.finish_masks()
        deltas = self._take(plan, scored)
        self.num_steps += 1
        self.meter.stepped(plan, self._clock() - began_s)
        return deltas

    def _compute(self, plan: Plan) -> Scored:
        batch = prepare(plan, self._kv.block_size, self._kv.num_groups)
        scored = [item.seq.seq_id for item in plan.items if item.seq.to_score and item.scored]
        if not scored:
            return Scored(self._forward(batch), {})
        owners = {each: self._owner[each][0] for each in scored}
        prompts = {each: owner.prompt_token_ids for each, owner in owners.items() if owner.pool is None}
        pools = {each: owner.pool for each, owner in owners.items() if owner.pool is not None}
        return self._scorer(plan, batch, prompts, pools)

    def persist(self) -> bool:
        """Hand some cached blocks to memory that outlives the process, in a moment without work.

        False: nothing was left to do.
        """
        return self._reload.persist(self.scheduler)

    def close(self) -> None:
        """Hand over all cached blocks, then let go of files and threads. The engine runs no more steps."""
        self._reload.close(self.scheduler)
        self.structured.close()

    def stats(self) -> EngineStats:
        """Gauges and counters; may be read from another thread."""
        scheduler = self.scheduler
        return EngineStats(
            running=scheduler.num_running,
            waiting=scheduler.num_waiting,
            kv_usage=scheduler.kv_usage,
            num_blocks=scheduler.pools[0].num_blocks,
            num_preemptions=scheduler.num_preemptions,
            prompt_tokens=self._prompt_tokens,
            generation_tokens=self._generation_tokens,
            prefix_queries=scheduler.prefix.num_queried_tokens,
            prefix_hits=scheduler.prefix.num_hit_tokens,
            num_steps=self.num_steps,
            prefix_hit_requests=scheduler.prefix.num_hits,
            prefix_evictions=scheduler.prefix.num_evicted_blocks,
            offload_spilled_blocks=scheduler.offload.num_spilled_blocks,
            offload_loaded_tokens=scheduler.offload.num_loaded_tokens,
            draft_tokens=self._draft_tokens,
            accepted_tokens=self._accepted_tokens,
            speculative_method=self._speculation.method,
            speculative_steps=dict(self._speculation.outcomes.counts),
            requests=self.ledger.counts(),
            steps=self.meter,
        )

    def _tell_outcome(self) -> None:
        """Leave in the trace why nothing is guessed, or that something is, when that has changed."""
        outcome = self._speculation.outcomes.state
        if outcome != self._outcome:
            self._outcome = outcome
            self.scheduler.trace.record(EVERYONE, "guess", self._speculation.method, outcome)

    def _choice(
        self, index: int, seq: Sequence, seed: int, constraint: Constraint, steps: Steps | None = None
    ) -> ChoiceState:
        return ChoiceState(index, seq, self.model.tokenizer, seed, steps, constraint)

    def _take(self, plan: Plan, scored: Scored) -> list[Delta]:
        """Sample, tell the scheduler, and turn tokens into deltas."""
        new_tokens, logits_RV = self._beams.advance(plan, scored.logits_RV)
        sampling = [
            (item, *self._owner[item.seq.seq_id])
            for item in plan.items
            if item.samples and item.seq.seq_id not in new_tokens
        ]
        self._contrast.apply([item for item, _, _ in sampling], logits_RV)
        drawn = self._sample(sampling, plan.branches, logits_RV)
        for (item, _, _), each in zip(sampling, drawn, strict=True):
            new_tokens[item.seq.seq_id] = each.own[-1].token_id
        kept = {
            item.seq.seq_id: [sample.token_id for sample in each.own[:-1]]
            for (item, _, _), each in zip(sampling, drawn, strict=True)
            if item.drafts
        }
        self.scheduler.update(plan, new_tokens, kept)
        now_s = self._clock()
        deltas = self._take_scores(scored) + self._end_unsampled(plan, now_s)
        for (item, request, choice), each in zip(sampling, drawn, strict=True):
            if self._requests.get(request.request_id) is not request:
                continue  # another choice of it has failed in this step
            error = next((sample.error for sample in each.own + each.forked if sample.error), None)
            if error is not None:
                self.abort(request.request_id)
                deltas.append(Delta(request_id=request.request_id, error=error))
                continue
            children = self._fork(request, choice, each.forked)
            if item.drafts:
                self._count_drafts(plan, item, choice, each)
            deltas += self._push(request, choice, each.own, now_s)
            for child, sample in zip(children, each.forked, strict=True):
                deltas += self._push(request, child, [sample], now_s)
        for search in self._beams.follow(self.scheduler, self._seq_ids, now_s):
            deltas += self._answer(search)
        return deltas

    def _answer(self, search: BeamRequest) -> list[Delta]:
        """End a request whose beams are found."""
        deltas = self._beams.end(search, self.scheduler)
        del self._requests[search.request_id]
        self._generation_tokens += sum(len(delta.token_ids) for delta in deltas)
        self.ledger.end("aborted" if search.error else "finished", search.counted_s)
        return deltas

    def _take_scores(self, scored: Scored) -> list[Delta]:
        """Hand scores of prompts to their requests; returns the failures."""
        for seq_id in scored.pooled:
            self._owner[seq_id][0].pooled()
        deltas = []
        for seq_id, scores in scored.by_seq.items():
            request, _ = self._owner[seq_id]
            if all(score.rank for score in scores):
                request.add_scores(scores)
            else:
                self.abort(request.request_id)
                deltas.append(Delta(request_id=request.request_id, error=not_a_number()))
        return deltas

    def _end_unsampled(self, plan: Plan, now_s: float) -> list[Delta]:
        """End the requests that want nothing but their prompt, which is computed now."""
        deltas = []
        for seq in [item.seq for item in plan.items if not item.seq.generates]:
            if seq.seq_id in self._owner and not seq.num_uncomputed_tokens:
                request, choice = self._owner[seq.seq_id]
                delta = choice.end_without_tokens(request.request_id, now_s)
                try:
                    delta = request.with_embedding(request.with_prompt_logprobs(delta))
                except RequestError as error:
                    self.abort(request.request_id)
                    deltas.append(Delta(request_id=request.request_id, error=error))
                else:
                    deltas.append(self._end(request, choice, delta))
        return deltas

    def _count_drafts(self, plan: Plan, item: PlanItem, choice: ChoiceState, drawn: _Drawn) -> None:
        in_branches = sum(len(branch.drafts) for branch in plan.branches if branch.seq is item.seq)
        num_drafts, num_kept = len(item.drafts) + in_branches, len(drawn.own) - 1
        choice.num_draft_tokens += num_drafts
        self._speculation.verified(choice.seq, len(item.drafts), drawn.num_right, num_kept)
        self._draft_tokens += num_drafts

    def _sample(
        self, sampling: list[_Sampling], branches: tuple[Branch, ...], logits_RV: Any
    ) -> list[_Drawn]:
        """What each item draws; a prompt that just ended is drawn from once for each choice to be forked."""
        if not sampling:
            return []
        rows, sources, num_rows = [], [], 0
        for item, request, choice in sampling:
            own = choice.sample_rows(item.drafts)
            forked = [replace(own[0], stream=stream + 1) for stream in range(request.num_unforked)]
            rows += own + forked
            sources += [*range(num_rows, num_rows + len(own)), *[num_rows] * len(forked)]
            num_rows += len(own)
        for branch in branches:
            rows += self._owner[branch.seq.seq_id][1].sample_rows(branch.drafts)
            sources += range(num_rows, num_rows + branch.num_tokens)
            num_rows += branch.num_tokens
        if len(sources) > num_rows:
            logits_RV = logits_RV[sources]
        drawn = iter(self._sampler.sample(logits_RV, rows))
        found = [_take_drawn(drawn, item, request) for item, request, _ in sampling]
        return _follow_branches(found, sampling, branches, drawn) if branches else found

    def _fork(self, request: ActiveRequest, lead: ChoiceState, samples: list[Sampled]) -> list[ChoiceState]:
        """Start the other choices of a request on the blocks of its prompt."""
        forked = []
        for sample in samples:
            child = lead.seq.sibling(next(self._seq_ids))
            child.output_token_ids.append(sample.token_id)
            self.scheduler.fork(lead.seq, child)
            self._speculation.forked(lead.seq, child)
            self._seq_ids_of.get(request.request_id, []).append(child.seq_id)
            parts = lead.constraint.copy(), lead.steps.fork()
            choice = self._choice(len(request.choices), child, request.seed, *parts)
            request.choices.append(choice)
            self._owner[child.seq_id] = (request, choice)
            forked.append(choice)
        return forked

    def _push(
        self, request: ActiveRequest, choice: ChoiceState, samples: list[Sampled], now_s: float
    ) -> list[Delta]:
        """A delta for each token, up to the one that ends the choice; all but the last were drafts."""
        deltas = []
        for number, sample in enumerate(samples, 1):
            deltas.append(request.with_prompt_logprobs(choice.push(request.request_id, sample, now_s)))
            self._generation_tokens += 1
            if number < len(samples):
                choice.num_accepted_tokens += 1
                self._accepted_tokens += 1
            if choice.finish_reason is not None:
                deltas[-1] = self._end(request, choice, deltas[-1])
                break
        return deltas

    def _end(self, request: ActiveRequest, choice: ChoiceState, delta: Delta) -> Delta:
        assert choice.finish_reason is not None, f"{choice.seq} goes on"
        del self._owner[choice.seq.seq_id]
        self.scheduler.finish(choice.seq.seq_id, choice.finish_reason)
        self._speculation.ended(choice.seq)
        if not request.finished:
            return delta
        del self._requests[request.request_id]
        self.ledger.end("finished", request.counted_s)
        return replace(delta, metrics=request.metrics())
