"""Reload: moves blocks between the cache and slower memory around a step, and measures what that costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from redline.cache.tier import StoreTier
from redline.core.offload import ReloadCost
from redline.core.plan import Plan
from redline.core.scheduler import Scheduler

IDLE_STEPS = 8  # of a path that are persisted between two looks for arrivals
CLOSING_STEPS = 128  # and between two waits for the disk


class Reload(Protocol):
    """What the engine asks around its steps."""

    def load(self, plan: Plan, scheduler: Scheduler) -> Plan:
        """Make the loads of the open plan; returns what can be computed of it."""

    def computed(self, plan: Plan, seconds: float) -> None:
        """The forward pass of a plan took so long."""

    def persist(self, scheduler: Scheduler) -> bool:
        """Hand some blocks to memory that outlives the process; False: there was nothing new."""

    def close(self, scheduler: Scheduler) -> None:
        """Hand over all blocks, then let go of files and threads."""


class NoReload:
    """There is no slower memory."""

    def load(self, plan: Plan, scheduler: Scheduler) -> Plan:
        return plan

    def computed(self, plan: Plan, seconds: float) -> None:
        pass

    def persist(self, scheduler: Scheduler) -> bool:
        return False

    def close(self, scheduler: Scheduler) -> None:
        pass


class TierReload:
    """Loads from a tier. `lasting`: some of it outlives the process."""

    def __init__(
        self, tier: StoreTier, cost: ReloadCost, clock: Callable[[], float], block_size: int, lasting: bool
    ) -> None:
        self._tier = tier
        self._cost = cost
        self._clock = clock
        self._block_size = block_size
        self._lasting = lasting
        self._closed = False

    def load(self, plan: Plan, scheduler: Scheduler) -> Plan:
        if not plan.loads:
            return plan
        started_s = self._clock()
        failed = {load.seq_id for load in plan.loads if not self._tier.load(load.group, load.key, load.block)}
        num_tokens = self._block_size * sum(load.group == 0 for load in plan.loads)
        if not failed and num_tokens:
            self._cost.loaded(num_tokens, self._clock() - started_s)
        return scheduler.drop(plan, failed) if failed else plan

    def computed(self, plan: Plan, seconds: float) -> None:
        decodes, prompt_tokens = plan.composition()
        if prompt_tokens > decodes:
            self._cost.computed(plan.num_tokens, seconds)

    def persist(self, scheduler: Scheduler) -> bool:
        return self._lasting and scheduler.prefix.persist(IDLE_STEPS) > 0

    def close(self, scheduler: Scheduler) -> None:
        if self._closed:
            return
        self._closed = True
        scheduler.prefix.start_over()
        while self._lasting and scheduler.prefix.persist(CLOSING_STEPS):
            self._tier.flush()  # a store drops what comes faster than it writes
        self._tier.close()
