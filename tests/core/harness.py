"""Drives a scheduler as the engine does, with the fake model, and checks every promise at every step."""

from collections.abc import Callable
from itertools import count
from typing import Any

from redline.config.sampling import SamplingParams
from redline.core.batching import ClosedBatching, ContinuousBatching
from redline.core.blocks import BlockPool
from redline.core.explain import explain
from redline.core.fairness import FairOrder
from redline.core.limits import SchedulerConfig
from redline.core.offload import NullOffload, ReloadCost, TierOffload
from redline.core.order import (
    DeadlineOrder,
    FirstComeOrder,
    LongestPrefixOrder,
    Order,
    PriorityOrder,
    ShortestOrder,
)
from redline.core.plan import Plan
from redline.core.prefix import NullPrefixIndex
from redline.core.radix import RadixPrefixIndex
from redline.core.scheduler import Scheduler
from redline.core.sequence import Sequence, Status
from redline.core.step_time import StepTime
from redline.core.trace import RingTrace, of_sequence
from tests.core.fake_model import FakeModel, Tables, generate

ORDERS = {
    "fcfs": FirstComeOrder,
    "priority": PriorityOrder,
    "shortest": ShortestOrder,
    "fair": FairOrder,
    "deadline": DeadlineOrder,
}


class FakeTier:
    """Slower memory for the fake model's blocks; `loses` is asked before each load whether it fails."""

    def __init__(self, loses: Callable[[], bool]) -> None:
        self.blocks: dict[tuple[int, bytes], list[int | None]] = {}
        self.model: FakeModel | None = None
        self.num_loaded = 0
        self._loses = loses

    def holds(self, group: int, key: bytes) -> bool:
        return (group, key) in self.blocks

    def spill(self, group: int, key: bytes, block: int) -> None:
        assert self.model is not None
        values = list(self.model.pools[group][block])
        assert self.blocks.setdefault((group, key), values) == values, "one key for two contents"

    persist = spill

    def load(self, group: int, key: bytes, block: int) -> bool:
        assert self.model is not None
        if self._loses():
            self.blocks.pop((group, key), None)
        if (group, key) not in self.blocks:
            self.model.load(group, block, [-1] * len(self.model.pools[group][block]))
            return False
        self.model.load(group, block, self.blocks[group, key])
        self.num_loaded += 1
        return True


class Harness:
    """Sequences end when they are full, or after `stop_after` tokens if that is given to add().

    `windows` has the window of each layer group (0: none, and then it is the first), and how many blocks more
    than the first it has.
    """

    def __init__(
        self,
        *,
        num_blocks: int = 64,
        block_size: int = 4,
        max_batch: int = 8,
        token_budget: int | None = 16,
        max_context: int = 128,
        prefix_cache: bool = True,
        windows: tuple[tuple[int, int], ...] = ((0, 0),),
        prompt_share: float = 1.0,
        prefill_first: bool = False,
        batching: str = "continuous",
        window_s: float = 2.0,
        order: str = "fcfs",
        step_s: float | None = None,
        tier: FakeTier | None = None,
        guess: Callable[[Sequence], list[int]] = lambda seq: [],
        num_branches: int = 1,
    ) -> None:
        self._guess, self._num_branches = guess, num_branches
        self.pools = [BlockPool(num_blocks + more, block_size, window) for window, more in windows]
        self.pool = self.pools[0]
        self.tier = tier
        offload = TierOffload(tier, ReloadCost()) if tier and prefix_cache else NullOffload()
        self.prefix = NullPrefixIndex(len(self.pools))
        if prefix_cache:
            self.prefix = RadixPrefixIndex(self.pools, offload)
        config = SchedulerConfig(
            max_batch=max_batch,
            token_budget=token_budget,
            block_size=block_size,
            max_context=max_context,
            prompt_share=prompt_share,
            prefill_first=prefill_first,
        )
        self.now_s = 0.0
        closed = ClosedBatching(max_batch, window_s)
        self.scheduler = Scheduler(
            config,
            self.pools,
            self.prefix,
            lambda: self.now_s,
            batching=ContinuousBatching() if batching == "continuous" else closed,
            order=self._order(order),
            step_limit=None if step_s is None else StepTime(step_s),
            offload=offload,
            trace=RingTrace(10_000, lambda: self.now_s),
        )
        self.model = FakeModel(
            [pool.num_blocks for pool in self.pools], block_size, [pool.window for pool in self.pools]
        )
        if tier is not None:
            tier.model = self.model
        self.live: dict[int, Sequence] = {}
        self.seqs: list[Sequence] = []  # all that were ever added
        self.plans: list[Plan] = []
        self._stop_after: dict[int, int] = {}
        self._num_forced: dict[int, int] = {}  # outputs that a fork started with
        self._uncertain: set[int] = set()  # in a failed step, whose copies were not made
        self._ids = count()

    def _order(self, name: str) -> Order:
        if name == "longest_prefix":
            return LongestPrefixOrder(self.prefix, self.pool.block_size)
        return ORDERS[name]()

    def new(self, prompt: list[int], max_tokens: int | None = 8, seed: int = 0, **options: Any) -> Sequence:
        params = SamplingParams(max_tokens=max_tokens, seed=seed)
        return Sequence(next(self._ids), prompt, params, self.now_s, **options)

    def add(
        self,
        prompt: list[int],
        max_tokens: int | None = 8,
        *,
        seed: int = 0,
        stop_after: int | None = None,
        **options: Any,
    ) -> Sequence:
        seq = self.new(prompt, max_tokens, seed, **options)
        self.scheduler.add(seq)
        self._remember(seq, stop_after)
        return seq

    def fork(self, parent: Sequence, *, num_outputs: int | None = None, seed: int = 1) -> Sequence:
        """Fork with the parent's first `num_outputs` outputs (all), and go on with another seed."""
        num_outputs = len(parent.output_token_ids) if num_outputs is None else num_outputs
        options = {"salt": parent.salt, "priority": parent.priority, "tenant": parent.tenant}
        child = self.new(parent.prompt_token_ids, parent.params.max_tokens, seed, **options)
        child.output_token_ids.extend(parent.output_token_ids[:num_outputs])
        self.scheduler.fork(parent, child)
        self._num_forced[child.seq_id] = num_outputs
        self._remember(child, None)
        return child

    def abort(self, seq: Sequence) -> None:
        self.scheduler.abort(seq.seq_id)
        self.live.pop(seq.seq_id, None)

    def step(self, between: Callable[[], object] | None = None, *, fails: bool = False) -> Plan:
        """One step; `between` runs after schedule(). A step that fails is never run nor updated."""
        drafts = {seq.seq_id: self._guess(seq) for seq in self.live.values()}
        branches = {
            seq.seq_id: [self._guess(seq) for _ in range(self._num_branches - 1)]
            for seq in self.live.values()
        }
        known = {seq_id: tokens for seq_id, tokens in drafts.items() if tokens}
        plan = self.scheduler.schedule(known, branches)
        self.plans.append(plan)
        self._check_plan(plan)
        tables = self.model.prepare(plan)
        if between is not None:
            between()
        self._uncertain = {item.seq.seq_id for item in plan.items} if fails else set()
        if not fails:
            plan, tables = self._load(plan, tables)
            plan = self._cut(plan)
            self.scheduler.update(plan, *self.model.run(plan, tables))
        self._finish_full()
        self.check()
        return plan

    def _load(self, plan: Plan, tables: list[Tables]) -> tuple[Plan, list[Tables]]:
        """Make the copies and loads of a plan; what cannot be loaded leaves it."""
        self.model.copy(plan)
        failed = {load.seq_id for load in plan.loads if not self.tier.load(*load[1:])}
        if not failed:
            return plan, tables
        kept = [
            table for item, table in zip(plan.items, tables, strict=True) if item.seq.seq_id not in failed
        ]
        return self.scheduler.drop(plan, failed), kept

    def _cut(self, plan: Plan) -> Plan:
        """Take back a draft of some, as a model does that has fewer to propose than there is room for."""
        if not any(item.drafts for item in plan.items):
            return plan
        items = [
            item._replace(num_tokens=item.num_tokens - 1, drafts=item.drafts[:-1])
            if item.drafts and item.start % 3 == 0
            else item
            for item in plan.items
        ]
        return self.scheduler.amend(plan, tuple(items))

    def run(self, max_steps: int = 3_000) -> None:
        """Step until nothing is left."""
        for _ in range(max_steps):
            if not self.scheduler.has_work:
                return
            self.step()
            self.now_s = max(self.now_s, self.scheduler.idle_until_s() or 0.0)
        raise AssertionError(f"work is left after {max_steps} steps: {list(self.live.values())}")

    def explain(self, seq: Sequence) -> list[str]:
        return explain(of_sequence(self.scheduler.trace.events(), seq.seq_id))

    def check(self) -> None:
        self.scheduler.check_integrity()
        self.model.read_computed(seq for seq in self.live.values() if seq.seq_id not in self._uncertain)

    def check_idle(self) -> None:
        """Nothing is used once nothing runs and the index is emptied."""
        assert not self.scheduler.has_work and self.scheduler.kv_usage == 0
        assert all(pool.num_available == pool.num_blocks for pool in self.pools)
        for group, pool in enumerate(self.pools):
            self.prefix.evict(pool.num_blocks, group)
        self.scheduler.check_integrity()
        assert all(pool.num_free == pool.num_blocks for pool in self.pools)

    def check_outputs(self) -> None:
        """Every sequence got the tokens that it gets alone."""
        for seq in self.seqs:
            alone = generate(seq, self._num_forced.get(seq.seq_id, 0), len(seq.output_token_ids))
            assert seq.output_token_ids == alone, f"{seq}"

    def _remember(self, seq: Sequence, stop_after: int | None) -> None:
        self.live[seq.seq_id] = seq
        self.seqs.append(seq)
        if stop_after is not None:
            self._stop_after[seq.seq_id] = stop_after
        self._finish_full()

    def _finish_full(self) -> None:
        for seq in list(self.live.values()):
            if seq.num_tokens >= seq.max_num_tokens:
                self._finish(seq, "length")
            elif len(seq.output_token_ids) >= self._stop_after.get(seq.seq_id, seq.num_tokens):
                self._finish(seq, "stop")

    def _finish(self, seq: Sequence, reason: str) -> None:
        self.scheduler.finish(seq.seq_id, reason)
        assert seq.finish_reason == reason
        del self.live[seq.seq_id]

    def _check_plan(self, plan: Plan) -> None:
        config = self.scheduler.config
        planned = {item.seq.seq_id: item for item in plan.items}
        assert len(planned) == len(plan.items) <= config.max_batch
        if config.token_budget is not None:
            assert plan.num_tokens <= config.token_budget
        else:
            assert plan.num_tokens <= config.max_context + config.max_batch
        for seq, start, num_tokens, samples, drafts in plan.items:
            assert seq.status is Status.RUNNING and num_tokens >= 1 and start == seq.num_computed_tokens
            assert samples == (start + num_tokens - len(drafts) == seq.num_tokens)
            assert not drafts or num_tokens == 1 + len(drafts), f"{seq} has drafts behind a prompt"
            assert samples or config.token_budget is not None, f"{seq} was cut without a budget"
            for pool, table in zip(self.pools, seq.block_tables, strict=True):
                for block in table[start // config.block_size :]:
                    assert pool.refcount(block) == 1, f"{seq} writes to shared {block = }"
        self._check_branches(plan)
        targets = [(group, target) for group, _, target in plan.copies]
        tables = [each.seq.block_tables for each in plan.items] + [
            each.block_tables for each in plan.branches
        ]
        assert set(targets) <= {
            (group, block) for each in tables for group, table in enumerate(each) for block in table
        }
        assert len(set(targets)) == len(targets)
        if not config.prefill_first:
            self._check_decodes_first(planned)

    def _check_branches(self, plan: Plan) -> None:
        drafting = {item.seq.seq_id: item for item in plan.items if item.drafts}
        for seq, start, drafts, tables, _ in plan.branches:
            assert drafts and start == drafting[seq.seq_id].start
            assert start + 1 + len(drafts) < seq.max_num_tokens
            first = start // self.scheduler.config.block_size
            for pool, table, own in zip(self.pools, tables, seq.block_tables, strict=True):
                assert table[:first] == own[:first] and not set(table[first:]) & set(own)
                assert all(pool.refcount(block) == 1 for block in table[first:])

    def _check_decodes_first(self, planned: dict[int, object]) -> None:
        running = [seq for seq in self.live.values() if seq.status is Status.RUNNING]
        left_out = [seq for seq in running if seq.num_uncomputed_tokens == 1 and seq.seq_id not in planned]
        prefills = [seq for seq in running if seq.num_uncomputed_tokens > 1 and seq.seq_id in planned]
        assert not (left_out and prefills), f"{prefills} were planned before {left_out}"
