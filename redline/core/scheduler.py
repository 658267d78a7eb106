"""Scheduler: which tokens of which sequences the next step computes.

Continuous batching (Yu et al., "Orca", OSDI 2022): the batch is put together anew for every step, so a
sequence joins as soon as there is room and leaves with its last token. It buys throughput and short queues: a
batch formed once waits for its longest member and keeps newcomers out. It hurts the gap between tokens, since
prompts join steps that decode; chunked_prefill.py bounds that. When sequences may join is the business of
batching.py, who joins first that of order.py, the blocks that sequences hold that of blocks.py,
block_tables.py and prefix.py, lack of memory that of preemption.py.

    plan = scheduler.schedule()                # admits, preempts, allocates
    ...                                        # copies, forward pass, sampling
    scheduler.update(plan, {seq_id: token})    # what was computed now counts
    scheduler.finish(seq_id, "stop")           # the caller decides when a sequence ends
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from collections.abc import Sequence as Many

from redline.core.batching import Batching, ContinuousBatching
from redline.core.block_tables import BlockTables
from redline.core.blocks import BlockPool
from redline.core.branches import ScratchBranches
from redline.core.chunked_prefill import step_budget, wish
from redline.core.drafts import NO_BRANCHES, NO_DRAFTS, Branches, Drafts, add_drafts
from redline.core.in_flight import MAX_HELD, is_computed_by_another
from redline.core.integrity import check_owners, check_places, check_queues
from redline.core.limits import SchedulerConfig
from redline.core.offload import NullOffload, Offload
from redline.core.order import FirstComeOrder, Order
from redline.core.pins import Pins
from redline.core.plan import BlockCopy, BlockLoad, Branch, Plan, PlanBuilder, PlanItem
from redline.core.preemption import RecomputePreemption
from redline.core.prefix import Match, PrefixIndex
from redline.core.queue import RunningQueue, WaitingQueue, first_come
from redline.core.sequence import Sequence, Status
from redline.core.step_time import WHOLE, NoStepLimit, StepLimit, split_by_length
from redline.core.trace import EVERYONE, NullTrace, Trace

Clock = Callable[[], float]
_RUNNING, _FINISHED = Status.RUNNING, Status.FINISHED  # looked up once per sequence and step


class Scheduler:
    """Decodes first, then running prompts, then new ones, in one token budget.

    Those who run are served first come first served, those who wait in the given order. With prefill_first,
    prompts come before decodes: new requests start sooner, and everyone else waits for them.

    Needs one caller at a time. add, fork, abort and finish may come at any moment, also between schedule()
    and update(): blocks freed then are not handed out again before the next schedule().
    """

    def __init__(  # noqa: PLR0913 - its parts
        self,
        config: SchedulerConfig,
        pools: Many[BlockPool],
        prefix: PrefixIndex,
        clock: Clock,
        *,
        batching: Batching | None = None,  # None: continuous
        order: Order | None = None,  # None: first come, first served
        step_limit: StepLimit | None = None,  # None: off
        offload: Offload | None = None,  # None: off; the prefix index must have the same
        trace: Trace | None = None,  # None: off
    ) -> None:
        assert all(config.block_size == pool.block_size for pool in pools), f"{config.block_size = }"
        self.config = config
        self.pools = tuple(pools)
        self.prefix = prefix
        self._clock = clock
        self._batching = batching or ContinuousBatching()
        self._step_limit = step_limit or NoStepLimit()
        self._gave_way = False  # long prompts, in the last step
        self._started_s = 0.0  # of the open plan
        self._open_composition = (0, 0)
        self._has_queue = False  # somebody waits for a place or for memory
        self._order = order or FirstComeOrder()
        self.trace = trace or NullTrace()
        self.offload = offload or NullOffload()
        step_tokens = config.token_budget or config.max_context
        self._tables = BlockTables(pools, prefix, step_tokens, self.offload)
        self._branches = ScratchBranches(self._tables, config.block_size)
        self._waiting = WaitingQueue(self._order.key)
        self._running = RunningQueue(first_come)
        self.pins = Pins(self.pools)
        self._preemption = RecomputePreemption(self._tables, self._waiting, self._running, clock)
        self._sequences: dict[int, Sequence] = {}
        self._open_plan: Plan | None = None  # scheduled and not updated yet
        # Who was to be admitted and did not fit, and the releases before it was refused.
        self._refused: tuple[Sequence, int] | None = None

    @property
    def has_work(self) -> bool:
        """True while a sequence is waiting or running."""
        return bool(self._sequences)

    def idle_until_s(self) -> float | None:
        """When there is something to do again if nothing arrives; None: there is work now, or none at all."""
        return None if len(self._running) else self._batching.opens_s(self._waiting)

    def flush(self) -> None:
        """Say that no more will arrive for now: a batching that waits for more starts with what it has."""
        self._batching.flush()

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def num_preemptions(self) -> int:
        return self._preemption.num_preemptions

    @property
    def kv_usage(self) -> float:
        """Share of the blocks, 0 to 1, that running sequences hold; what can be evicted counts as free.

        Of several pools, that of the fullest.
        """
        return 1 - min(pool.num_available / pool.num_blocks for pool in self.pools)

    def add(self, seq: Sequence) -> None:
        """Queue a sequence and set its `max_num_tokens`, at which the caller must have finished it.

        Raises CapacityError when prompt and max_tokens (with None: one token) exceed the context or all
        blocks together, RequestError when its gang does; whatever is admitted can run to its end alone.
        """
        assert seq.seq_id not in self._sequences, f"{seq} is here already"
        assert seq.status is Status.WAITING and not seq.block_table, f"{seq} is not new"
        if seq.gang is not None:
            seq.gang.check(self.config.max_batch, self.config.token_budget)
        seq.max_num_tokens = self._tables.max_num_tokens_of(seq, self.config.max_context)
        self._sequences[seq.seq_id] = seq
        self._order.arrived(seq)
        self._step_limit.arrived(self._clock())
        self.trace.record(seq.seq_id, "queue", len(seq.prompt_token_ids), len(self._waiting))
        self._waiting.add(seq)

    def fork(self, parent: Sequence, child: Sequence) -> None:
        """Add a sequence that starts with tokens of `parent` and shares the blocks that hold them.

        The child may have output tokens already, as after sampling several tokens from one row of logits.
        With no place free in the batch, or no computed tokens to share, it waits like any other and finds in
        the prefix index what it can. Raises CapacityError like add().
        """
        assert parent.salt == child.salt, f"{parent.salt = } {child.salt = }"
        self.add(child)
        self._batching.forked(parent, child)
        if parent.status is not Status.RUNNING or not self._has_place(child):
            return
        if self._is_loading(parent):
            return  # and may lose all it has
        # The step in progress may fill the parent's last block, and then the prefix index will own it.
        if self._tables.fork(parent, child, partial=self._open_plan is None):
            self._start(child, num_tokens=0)

    def abort(self, seq_id: int) -> None:
        """End a sequence now with reason "abort". Ids that are not here are ignored: it may have finished."""
        if seq_id in self._sequences:
            self.finish(seq_id, "abort")

    def finish(self, seq_id: int, reason: str) -> None:
        """End a sequence now and give up its blocks; full computed ones stay in the prefix index."""
        seq = self._sequences.pop(seq_id)
        queue = self._running if seq.status is Status.RUNNING else self._waiting
        queue.remove(seq)
        if seq.pin_s > 0:
            in_prompt = len(seq.prompt_token_ids) // self.config.block_size
            num_blocks = min(in_prompt, seq.num_indexed_blocks)
            self.pins.add(seq.block_tables, num_blocks, self._clock() + seq.pin_s)
        self._tables.release(seq)
        self._batching.ended(seq)
        self._order.ended(seq)
        seq.status = Status.FINISHED
        seq.finish_reason = reason
        self.trace.record(seq.seq_id, "finish", reason, len(seq.output_token_ids))

    def schedule(self, drafts: Drafts = NO_DRAFTS, branches: Branches = NO_BRANCHES) -> Plan:
        """Decide the next step and allocate for it. Empty while nothing runs and nobody may join.

        `drafts` and `branches`: what sequences that decode may compute as well. If the last plan was never
        updated, its step has failed: its sequences are preempted, because what is in their blocks is unknown.
        """
        self._abandon_open_plan()
        self.trace.next_step()
        num_evicted = self.prefix.num_evicted_blocks
        now_s = self._clock()
        if self.pins.expire(now_s):
            self._refused = None
        self._batching.open(self._waiting, now_s)
        if self._order.refresh(self._waiting):
            self._waiting.sort()
        decodes: list[Sequence] = []
        prefills: list[Sequence] = []
        for seq in self._running:  # most of all work, so without calls
            num_tokens = len(seq.prompt_token_ids) + len(seq.output_token_ids)
            (decodes if seq.num_computed_tokens == num_tokens - 1 else prefills).append(seq)
        fitting = self._step_limit.chunk(len(decodes), len(self._sequences), now_s)
        chunk = None if self._has_queue else fitting
        budget = self._num_tokens(len(decodes), chunk)
        builder = PlanBuilder(step_budget(budget, self.config.max_context))
        if not self.config.prefill_first:
            self._decode(builder, decodes)
        self._prefill(builder, prefills, chunk)
        if self.config.prefill_first:
            self._decode(builder, decodes)
        add_drafts(builder, self._tables, drafts)
        self._branches.add(builder, branches)
        plan = builder.build()
        idle = not self._sequences or self.idle_until_s() is not None
        assert plan.items or idle, f"{self.num_waiting = } {self.num_running = }: no progress"
        self._open_plan = plan
        self._open_composition = plan.composition()
        self._started_s = now_s
        self._record(plan, self.prefix.num_evicted_blocks - num_evicted)
        return plan

    def drop(self, plan: Plan, seq_ids: Container[int]) -> Plan:
        """What is left of the open plan without some sequences, whose blocks could not be loaded.

        They wait again, for whatever can be loaded or computed then. Update with the plan returned.
        """
        for item in plan.items:
            if item.seq.seq_id in seq_ids and item.seq.status is Status.RUNNING:
                if not item.seq.num_preemptions:
                    item.seq.first_scheduled_s = None  # what it was to find has yet to be counted
                self._preempt(item.seq, "what it was to read back could not be read")
        return self.amend(plan, tuple(item for item in plan.items if item.seq.seq_id not in seq_ids))

    def amend(self, plan: Plan, items: tuple[PlanItem, ...], branches: Many[Branch] | None = None) -> Plan:
        """The open plan with others, none of which may reach further. Update with the plan returned."""
        assert plan is self._open_plan, "only the plan that schedule() returned last is still open"
        self._open_plan = plan.with_items(items, branches)
        return self._open_plan

    def update(self, plan: Plan, new_tokens: Mapping[int, int | None], kept: Drafts = NO_DRAFTS) -> None:
        """Count a plan as computed; `new_tokens` has the sampled token of each item that samples, by seq_id.

        None: it is not known before others of its gang are as far, and the last token is computed again.
        `kept`: the tokens before it, of the items with drafts: the right ones of these, or of a branch.
        Items whose sequence has ended since are skipped. What the plan fills can be matched from now on.
        """
        assert plan is self._open_plan, "update() takes the plan that schedule() returned last, once"
        self._open_plan = None
        self._step_limit.measured(*self._open_composition, self._clock() - self._started_s)
        block_size = self.config.block_size
        sampled = []
        for seq, start, num_tokens, samples, drafts in plan.items:
            if seq.status is _FINISHED:
                continue
            assert seq.num_computed_tokens == start, f"{seq} moved since it was planned at {start = }"
            if drafts:
                right = kept[seq.seq_id]
                if plan.branches:
                    self._branches.follow(plan, seq, drafts, right, self.trace)
                seq.output_token_ids += right
                sampled += [seq] * len(right)
                num_tokens = 1 + len(right)
                self.trace.record(seq.seq_id, "draft", len(drafts), len(right))
            elif num_tokens > 1:
                self.trace.record(seq.seq_id, "chunk", start, num_tokens)
            end = start + num_tokens
            if samples:
                assert end < seq.max_num_tokens, f"{seq} should be finished"
                token_id = new_tokens[seq.seq_id]
                if token_id is None:
                    end -= 1
                else:
                    seq.output_token_ids.append(token_id)
                    sampled.append(seq)
            seq.num_computed_tokens = end
            if end >= (seq.num_indexed_blocks + 1) * block_size:
                self._tables.register(seq)
        self._branches.release()
        self._order.sampled(sampled)
        loaded = {load.seq_id for load in plan.loads}
        for item in plan.items if loaded else ():
            if item.seq.seq_id in loaded and item.seq.status is _RUNNING:
                self._tables.settle(item.seq)

    def check_integrity(self) -> None:
        """Assert every invariant: queues, tables, index, and an owner for every reference to a block."""
        self.prefix.check_integrity()
        check_queues(self._sequences, self._waiting, self._running)
        check_places(self._running, self.config.max_batch)
        for seq in self._running:
            self._tables.check(seq)
        for group, pool in enumerate(self.pools):
            check_owners(pool, group, self._running, self.pins.blocks(), self._branches.blocks(group))

    def _is_loading(self, seq: Sequence) -> bool:
        loads = () if self._open_plan is None else self._open_plan.loads
        return any(load.seq_id == seq.seq_id for load in loads)

    def _abandon_open_plan(self) -> None:
        for item in () if self._open_plan is None else self._open_plan.items:
            if item.seq.status is Status.RUNNING:
                self._preempt(item.seq, "its step failed")
        self._open_plan = None
        self._branches.release()

    def _num_tokens(self, num_decodes: int, chunk: int | None) -> int | None:
        """The token budget of the next step. None: prompts are computed whole."""
        budget = self.config.token_budget
        return budget if budget is None or chunk is None else min(budget, num_decodes + max(chunk, WHOLE))

    def _prefill(self, builder: PlanBuilder, prefills: list[Sequence], chunk: int | None) -> None:
        """Chunks of prompts that were started, then new ones; what is left goes to those who wanted more.

        `chunk`: the most that fits of prompts that cannot end in this step; then nothing is left over, and
        they give way, every other step at most, to prompts that can end in it.
        """
        limit = self._prompt_limit(builder, len(prefills))
        if chunk is not None:
            limit = chunk if limit is None else min(chunk, limit)
        give_way = chunk is not None and not self._gave_way
        first, last = split_by_length(prefills) if give_way else (prefills, [])
        self._continue(builder, first, limit)
        self._admit_waiting(builder, limit)
        self._gave_way = bool(last) and builder.ends_prompt()
        if not self._gave_way:
            self._continue(builder, last, limit)
        if limit is not None and chunk is None:
            self._continue(builder, [seq for seq in self._running if builder.num_planned(seq)])

    def _prompt_limit(self, builder: PlanBuilder, num_prefills: int) -> int | None:
        """The most tokens of a prompt that cannot end in this step, until everyone had a turn.

        None: as many as there are.
        """
        places = self.config.max_batch - self._running.num_places
        if self.config.token_budget is None or num_prefills + min(len(self._waiting), places) < 2:
            return None
        return max(1, int(builder.budget.left * self.config.prompt_share))

    def _decode(self, builder: PlanBuilder, seqs: list[Sequence]) -> None:
        """One token for each running sequence that wants one, in order: most of all work, so made short."""
        grant = builder.budget.grant
        for seq in seqs:
            # A sequence preempted to make room for an earlier one is not running any more.
            if seq.status is not _RUNNING or not grant(1):
                continue
            position = seq.num_computed_tokens
            copies: Many[BlockCopy] | None = ()
            if position >= seq.num_writable_tokens:
                copies = self._grow(builder, seq, position + 1)
            if copies is None:
                builder.budget.give_back(1)
            else:
                builder.add_decode(seq, position, copies)

    def _continue(self, builder: PlanBuilder, seqs: list[Sequence], limit: int | None = None) -> None:
        """Work on running sequences, in order; blocks come from the last in order."""
        for seq in seqs:
            if seq.status is _RUNNING:
                self._plan(builder, seq, limit)

    def _admit_waiting(self, builder: PlanBuilder, limit: int | None) -> None:
        """New sequences in order, while a place, budget and blocks are left.

        Nobody overtakes but those who are held back for a beginning that is being computed (in_flight.py).
        One spare block for each running sequence keeps the next few steps from preempting what was admitted.
        """
        self._has_queue = False
        held: set[int] = set()
        while (seq := self._next_to_admit(held)) is not None:
            full = not self._has_place(seq)
            if full and not self._preemption.may_displace(seq, self._order.preempts):
                self._has_queue = True
                return
            attempt = (seq, self._tables.num_releases)
            if attempt == self._refused:
                self._has_queue = True
                return  # nothing was released since it did not fit; spare the lookup
            matched = self._tables.match(seq)
            if self._is_computed_by_another(seq, matched):
                held.add(seq.seq_id)
                if len(held) == MAX_HELD:
                    return
                continue
            num_tokens = seq.num_tokens - len(matched[0]) * self.config.block_size
            granted = builder.budget.grant(wish(builder.budget, num_tokens, limit))
            if not granted:
                return
            builder.budget.give_back(granted)
            num_spare = self.config.num_spare(len(self._running))
            if full or not self._tables.admit(seq, matched, num_spare):
                if self._preemption.may_displace(seq, self._order.preempts):
                    self._displace_last(builder)
                    continue
                # One of a gang that runs already: the others do not get on without it.
                if (not len(self._running) or seq.is_awaited) and self.pins.give_way():
                    continue
                self._refused, self._has_queue = attempt, True
                shortage = self._tables.shortage(seq, matched, num_spare)
                self.trace.record(seq.seq_id, "refuse", *shortage)
                return
            loads = self._tables.restore(seq)
            copies = [] if loads else self._tables.copy_within(seq)
            if seq.first_scheduled_s is None:
                seq.num_cached_tokens = seq.num_computed_tokens
            self.trace.record(seq.seq_id, "admit", seq.num_computed_tokens, seq.num_uncomputed_tokens)
            self._start(seq, seq.num_uncomputed_tokens)
            if loads:
                self.trace.record(seq.seq_id, "load", len(loads))
            self._plan(builder, seq, limit, copies, loads)

    def _has_place(self, seq: Sequence) -> bool:
        return self._running.num_places + self._running.num_wanted(seq) <= self.config.max_batch

    def _next_to_admit(self, held: Container[int]) -> Sequence | None:
        """Whom others of its gang wait for, else the first in order, or the latter if it is more urgent."""
        admits = self._batching.admits
        first = next((seq for seq in self._waiting if seq.seq_id not in held and admits(seq)), None)
        awaited = self._waiting.awaited(held)
        urgent = self._order.preempts and first and awaited and first.priority < awaited.priority
        return first if urgent or awaited is None else awaited

    def _is_computed_by_another(self, seq: Sequence, matched: Match) -> bool:
        """Whether to hold a sequence back for what it could share soon."""
        if not self.prefix.keeps:
            return False
        block_size = self.config.block_size
        prefills = (other for other in self._running if other.num_uncomputed_tokens > 1)
        return is_computed_by_another(seq, len(matched[0]) * block_size, prefills, block_size)

    def _displace_last(self, builder: PlanBuilder) -> None:
        victim = self._preemption.victim()
        builder.take_back(victim)
        self._preempt(victim, "an earlier or more urgent request took its place")

    def _preempt(self, seq: Sequence, reason: str) -> None:
        self.trace.record(seq.seq_id, "preempt", seq.num_computed_tokens, reason)
        self._preemption.preempt(seq)

    def _record(self, plan: Plan, num_evicted: int) -> None:
        if num_evicted:
            self.trace.record(EVERYONE, "evict", num_evicted)
        if plan.items:
            sizes = (self.num_running, self.num_waiting, self.pools[0].num_available)
            self.trace.record(EVERYONE, "step", *self._open_composition, *sizes)

    def _start(self, seq: Sequence, num_tokens: int) -> None:
        """Move a waiting sequence, which has so many tokens to compute, into the batch."""
        self._waiting.remove(seq)
        self._running.add(seq)
        seq.status = Status.RUNNING
        self._preemption.resume(seq)
        if seq.first_scheduled_s is None:
            seq.first_scheduled_s = self._clock()
            if self._order.admitted(seq, num_tokens):
                self._waiting.sort()

    def _plan(
        self,
        builder: PlanBuilder,
        seq: Sequence,
        limit: int | None,
        copies: Many[BlockCopy] = (),
        loads: Many[BlockLoad] = (),
    ) -> None:
        """Give a running sequence more tokens, as the budget grants them, and the blocks for them."""
        planned = builder.num_planned(seq)
        granted = builder.budget.grant(wish(builder.budget, seq.num_uncomputed_tokens - planned, limit))
        if not granted:
            assert not copies and not loads, f"{seq} was admitted without budget"
            return
        end = seq.num_computed_tokens + planned + granted
        if end > seq.num_writable_tokens:
            more = self._grow(builder, seq, end)
            if more is None:
                builder.budget.give_back(granted)
                return
            copies = more or copies
        builder.add(seq, planned + granted, copies)
        builder.load(seq, loads)

    def _grow(self, builder: PlanBuilder, seq: Sequence, end: int) -> list[BlockCopy] | None:
        """Blocks up to `end`, and the copies to make before; None: there were none, and it gave way."""
        self._tables.slide(seq)
        return self._tables.extend(seq, end) if self._make_room(builder, seq, end) else None

    def _make_room(self, builder: PlanBuilder, seq: Sequence, end: int) -> bool:
        """Free the blocks that a sequence needs up to `end`. False: it was itself the one to give way."""
        while not self._tables.reserve(seq, end):
            victim = self._preemption.victim()
            if victim is seq and len(self._running) == 1:
                assert self.pins.give_way(), f"{seq} does not fit alone: {end = }"
                continue
            builder.take_back(victim)
            self._preempt(victim, "no block was left, and of those who ran it was the last in order")
            if victim is seq:
                return False
        return True
