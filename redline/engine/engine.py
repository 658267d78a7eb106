"""Engine: add requests, step, abort. One step is plan, forward, sample, update; no thread of its own."""

from __future__ import annotations

import itertools
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from redline.cache.paged import PagedKV
from redline.config.sampling import SamplingParams
from redline.core.explain import explain
from redline.core.plan import Plan, PlanItem
from redline.core.scheduler import Scheduler
from redline.core.sequence import Sequence
from redline.core.trace import of_sequence
from redline.decoding.sampler import Sampled, Sampler
from redline.decoding.speculative.verify import num_kept
from redline.engine.choice import ChoiceState
from redline.engine.chrome_trace import write_chrome_trace
from redline.engine.forward import Forward
from redline.engine.inputs import PromptEncoder
from redline.engine.ledger import Ledger
from redline.engine.outputs import Delta, EngineStats
from redline.engine.prepare import prepare
from redline.engine.reload import NoReload, Reload
from redline.engine.request import NO_OPTIONS, ActiveRequest, RequestOptions
from redline.engine.speculation import NoSpeculation, Speculation
from redline.errors import QueueFull, RequestError
from redline.models.load import LoadedModel

MAX_EXPLAINED = 4096  # requests that explain() remembers


_Sampling = tuple[PlanItem, ActiveRequest, ChoiceState]


class _Drawn(NamedTuple):
    """The tokens of an item: those of its sequence, the last one new, and the first of its other choices."""

    own: list[Sampled]
    forked: list[Sampled]


def _take_drawn(drawn: Iterator[Sampled], item: PlanItem, request: ActiveRequest) -> _Drawn:
    own = list(itertools.islice(drawn, 1 + len(item.drafts)))
    num_right = num_kept(item.drafts, [sample.token_id for sample in own])
    return _Drawn(own[: num_right + 1], list(itertools.islice(drawn, request.num_unforked)))


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
        inputs: PromptEncoder,
        max_waiting: int,
        clock: Callable[[], float],
        reload: Reload | None = None,  # None: no slower memory
        speculation: Speculation | None = None,  # None: off
    ) -> None:
        self.model = model
        self.inputs = inputs
        self.scheduler = scheduler
        self._kv = kv
        self._reload = reload or NoReload()
        self._speculation = speculation or NoSpeculation()
        self._forward = forward
        self._sampler = sampler
        self._clock = clock
        self.ledger = Ledger(clock)
        self._max_waiting = max_waiting
        self._requests: dict[str, ActiveRequest] = {}
        self._seq_ids_of: OrderedDict[str, list[int]] = OrderedDict()  # of the latest requests
        self._owner: dict[int, tuple[ActiveRequest, ChoiceState]] = {}
        self._seq_ids = itertools.count()
        self._num_steps = self._prompt_tokens = self._generation_tokens = 0
        self._draft_tokens = self._accepted_tokens = 0

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
    ) -> None:
        """Queue a request whose prompt came from `inputs`.

        Raises RequestError when the parameters do not fit, CapacityError when the request can never fit the
        K/V memory, QueueFull when too many wait.
        """
        arrived = self.ledger.arrive()
        try:
            seq = self._admissible(request_id, prompt_token_ids, params, options)
            self.scheduler.add(seq)
        except Exception:
            self.ledger.end("refused", arrived)
            raise
        seed = params.seed if params.seed is not None else secrets.randbits(63)
        lead = self._choice(0, seq, seed)
        request = ActiveRequest(request_id, params, seed, lead, seq.arrival_s, arrived)
        self._requests[request_id] = request
        self._seq_ids_of[request_id] = [seq.seq_id]
        if len(self._seq_ids_of) > MAX_EXPLAINED:
            self._seq_ids_of.popitem(last=False)
        self._owner[seq.seq_id] = (request, lead)
        self._prompt_tokens += len(prompt_token_ids)

    def _admissible(
        self, request_id: str, prompt_token_ids: list[int], params: SamplingParams, options: RequestOptions
    ) -> Sequence:
        """The sequence of a new request. Raises RequestError or QueueFull."""
        if request_id in self._requests:
            raise RequestError(f"request id {request_id!r} is in use; choose another", param="request_id")
        self.inputs.check_params(prompt_token_ids, params)
        if self.scheduler.num_waiting >= self._max_waiting:
            raise QueueFull(f"{self._max_waiting} requests are waiting already; try again later")
        arrival_s = self.now_s() if options.arrival_s is None else options.arrival_s
        return Sequence(
            next(self._seq_ids),
            list(prompt_token_ids),
            params,
            arrival_s,
            priority=options.priority,
            tenant=options.tenant,
            deadline_s=None if options.deadline_s is None else arrival_s + options.deadline_s,
            pin_s=options.pin_s,
            salt=options.cache_salt,
        )

    def idle_for_s(self) -> float | None:
        """Seconds with nothing to do unless a request arrives; None: there is work now, or none at all."""
        until_s = self.scheduler.idle_until_s()
        return None if until_s is None else max(0.0, until_s - self.now_s()) or None

    def explain(self, request_id: str) -> list[list[str]] | None:
        """What happened to each choice of a request, in sentences; None: it is not among the latest.

        The first is the one that ran the prompt. May be called from another thread.
        """
        seq_ids = self._seq_ids_of.get(request_id)
        if seq_ids is None:
            return None
        events = self.scheduler.trace.events()
        return [explain(of_sequence(events, seq_id)) for seq_id in list(seq_ids)]

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
        for choice in request.choices:
            if self._owner.pop(choice.seq.seq_id, None) is not None:
                self.scheduler.abort(choice.seq.seq_id)
                self._speculation.ended(choice.seq)

    def step(self) -> list[Delta]:
        """Run one iteration; returns what it added to each request, in the order of the batch."""
        drafts = self._speculation.drafts(choice.seq for _, choice in self._owner.values())
        plan = self.scheduler.schedule(drafts)
        if not plan.items:
            return []
        if plan.copies:
            self._kv.copy(plan.copies)
        plan = self._reload.load(plan, self.scheduler)
        if not plan.items:
            self.scheduler.update(plan, {})
            return []
        started_s = self._clock()
        logits_RV = self._forward(prepare(plan, self._kv.block_size, self._kv.num_groups))
        seconds = self._clock() - started_s
        self._reload.computed(plan, seconds)
        if not self._forward.prepared:
            self._speculation.measured(plan, seconds)
        deltas = self._take(plan, logits_RV)
        self._num_steps += 1
        return deltas

    def persist(self) -> bool:
        """Hand some cached blocks to memory that outlives the process, in a moment without work.

        False: nothing was left to do.
        """
        return self._reload.persist(self.scheduler)

    def close(self) -> None:
        """Hand over all cached blocks, then let go of files and threads. The engine runs no more steps."""
        self._reload.close(self.scheduler)

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
            num_steps=self._num_steps,
            prefix_hit_requests=scheduler.prefix.num_hits,
            prefix_evictions=scheduler.prefix.num_evicted_blocks,
            offload_spilled_blocks=scheduler.offload.num_spilled_blocks,
            offload_loaded_tokens=scheduler.offload.num_loaded_tokens,
            draft_tokens=self._draft_tokens,
            accepted_tokens=self._accepted_tokens,
            requests=self.ledger.counts(),
        )

    def _choice(self, index: int, seq: Sequence, seed: int) -> ChoiceState:
        return ChoiceState(index, seq, self.model.tokenizer, seed)

    def _take(self, plan: Plan, logits_RV: Any) -> list[Delta]:
        """Sample, tell the scheduler, and turn tokens into deltas."""
        sampling = [(item, *self._owner[item.seq.seq_id]) for item in plan.items if item.samples]
        drawn = self._sample(sampling, logits_RV)
        new_tokens = {
            item.seq.seq_id: each.own[-1].token_id for (item, _, _), each in zip(sampling, drawn, strict=True)
        }
        kept = {
            item.seq.seq_id: [sample.token_id for sample in each.own[:-1]]
            for (item, _, _), each in zip(sampling, drawn, strict=True)
            if item.drafts
        }
        self.scheduler.update(plan, new_tokens, kept)
        now_s = self._clock()
        deltas: list[Delta] = []
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
                self._count_drafts(choice, len(item.drafts), len(each.own) - 1)
            deltas += self._push(request, choice, each.own, now_s)
            for child, sample in zip(children, each.forked, strict=True):
                deltas += self._push(request, child, [sample], now_s)
        return deltas

    def _count_drafts(self, choice: ChoiceState, num_drafts: int, num_right: int) -> None:
        choice.count_drafts(num_drafts, num_right)
        self._draft_tokens += num_drafts
        self._accepted_tokens += num_right

    def _sample(self, sampling: list[_Sampling], logits_RV: Any) -> list[_Drawn]:
        """What each item draws; a prompt that just ended is drawn from once for each choice to be forked."""
        if not sampling:
            return []
        rows, sources = [], []
        num_rows = 0
        for item, request, choice in sampling:
            own = choice.sample_rows(item.drafts)
            forked = [replace(own[0], stream=stream + 1) for stream in range(request.num_unforked)]
            rows += own + forked
            sources += [*range(num_rows, num_rows + len(own)), *[num_rows] * len(forked)]
            num_rows += len(own)
        if len(sources) > num_rows:
            logits_RV = logits_RV[sources]
        drawn = iter(self._sampler.sample(logits_RV, rows))
        return [_take_drawn(drawn, item, request) for item, request, _ in sampling]

    def _fork(self, request: ActiveRequest, lead: ChoiceState, samples: list[Sampled]) -> list[ChoiceState]:
        """Start the other choices of a request on the blocks of its prompt."""
        forked = []
        for sample in samples:
            child = Sequence(
                next(self._seq_ids),
                lead.seq.prompt_token_ids,
                lead.seq.params,
                lead.seq.arrival_s,
                priority=lead.seq.priority,
                tenant=lead.seq.tenant,
                deadline_s=lead.seq.deadline_s,
                salt=lead.seq.salt,
            )
            child.output_token_ids.append(sample.token_id)
            self.scheduler.fork(lead.seq, child)
            self._seq_ids_of.get(request.request_id, []).append(child.seq_id)
            choice = self._choice(len(request.choices), child, request.seed)
            request.choices.append(choice)
            self._owner[child.seq_id] = (request, choice)
            forked.append(choice)
        return forked

    def _push(
        self, request: ActiveRequest, choice: ChoiceState, samples: list[Sampled], now_s: float
    ) -> list[Delta]:
        """A delta for each token, up to the one that ends the choice."""
        deltas = []
        for sample in samples:
            deltas.append(choice.push(request.request_id, sample, now_s))
            self._generation_tokens += 1
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
