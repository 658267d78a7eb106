"""The scheduler of an engine, put together from the switches of its configuration."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from redline.config.engine import EngineConfig
from redline.core.batching import Batching, ClosedBatching, ContinuousBatching
from redline.core.blocks import BlockPool
from redline.core.fairness import FairOrder
from redline.core.limits import SchedulerConfig
from redline.core.no_cache import NoCacheScheduler
from redline.core.offload import NullOffload, Offload
from redline.core.order import (
    DeadlineOrder,
    FirstComeOrder,
    LongestPrefixOrder,
    Order,
    PriorityOrder,
    ShortestOrder,
)
from redline.core.prefix import NullPrefixIndex, PrefixIndex
from redline.core.radix import RadixPrefixIndex
from redline.core.scheduler import Scheduler
from redline.core.step_time import NoStepLimit, StepTime
from redline.core.trace import NullTrace, RingTrace

WINDOW_S = {"static": 1.0, "dynamic": 0.05}  # a server answers even when a batch does not fill


def build_scheduler(
    config: EngineConfig,
    windows: Sequence[int],
    num_blocks: Sequence[int],
    max_context: int,
    offload: Offload | None = None,
) -> Scheduler:
    """A scheduler over the blocks of each layer group. `offload`: slower memory behind them, if there is.

    Raises ConfigError or CapacityError.
    """
    offload = offload or NullOffload()
    pools = [
        BlockPool(count, config.block_size, window) for count, window in zip(num_blocks, windows, strict=True)
    ]
    prefix = RadixPrefixIndex(pools, offload) if shares_prefixes(config) else NullPrefixIndex(len(pools))
    limits = SchedulerConfig(
        max_batch=config.max_batch,
        token_budget=config.chunked_prefill,
        block_size=config.block_size,
        max_context=max_context,
        prompt_share=config.prompt_share,
        prefill_first=config.prefill_first,
    )
    order = _ORDERS[config.order](prefix, config.block_size)
    clock = time.perf_counter
    trace = NullTrace() if config.trace_events is None else RingTrace(config.trace_events, clock)
    kind = Scheduler if config.kv_cache else NoCacheScheduler
    return kind(
        limits,
        pools,
        prefix,
        clock,
        batching=_batching(config),
        order=order,
        step_limit=NoStepLimit() if config.step_time is None else StepTime(config.step_time),
        offload=offload,
        trace=trace,
    )


def shares_prefixes(config: EngineConfig) -> bool:
    """Whether there are blocks that one request can take over from another."""
    return config.prefix_cache and config.kv_cache and config.paged_cache


def _batching(config: EngineConfig) -> Batching:
    if config.batching == "continuous":
        return ContinuousBatching()
    window_s = WINDOW_S[config.batching] if config.batch_window is None else config.batch_window
    return ClosedBatching(config.max_batch, window_s)


_ORDERS: dict[str, Callable[[PrefixIndex, int], Order]] = {
    "fcfs": lambda prefix, block_size: FirstComeOrder(),
    "priority": lambda prefix, block_size: PriorityOrder(),
    "shortest": lambda prefix, block_size: ShortestOrder(),
    "longest_prefix": LongestPrefixOrder,
    "fair": lambda prefix, block_size: FairOrder(),
    "deadline": lambda prefix, block_size: DeadlineOrder(),
}
