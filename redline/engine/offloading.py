"""Slower memory behind the cache of an engine, put together from the switches of its configuration."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from redline.cache.block_store import BlockStore, HostStore
from redline.cache.disk_store import DiskStore
from redline.cache.paged import PagedKV
from redline.cache.tier import StoreTier
from redline.config.engine import EngineConfig, parse_bytes
from redline.core.offload import NullOffload, Offload, ReloadCost, TierOffload
from redline.engine.fingerprint import fingerprint
from redline.engine.reload import NoReload, Reload, TierReload

logger = logging.getLogger("redline.cache")


@dataclass(frozen=True, slots=True)
class Offloading:
    """The two ends of it: `offload` for the scheduler, `reload` for the engine."""

    offload: Offload
    reload: Reload


def build_offloading(
    config: EngineConfig, kv: PagedKV, model: Path, settings: dict[str, object]
) -> Offloading:
    """`settings`: what the numbers in the cache depend on besides the model's files.

    Raises ConfigError when a store has no room for a block or its folder cannot be used, CapacityError when
    host memory is refused.
    """
    if config.offload_memory is None and config.cache_dir is None:
        return Offloading(NullOffload(), NoReload())
    groups = range(kv.num_groups)
    block_bytes = [kv.block_bytes(group) for group in groups]
    host: list[list[BlockStore]] = [[] for _ in groups]
    disk: list[list[BlockStore]] = [[] for _ in groups]
    if config.offload_memory is not None:
        host = _host_stores(parse_bytes("offload_memory", config.offload_memory), block_bytes)
    if config.cache_dir is not None:
        disk = _disk_stores(config, block_bytes, model, settings)
    cost = ReloadCost()
    tier = StoreTier(kv, host, disk)
    reload = TierReload(tier, cost, time.perf_counter, kv.block_size, lasting=config.cache_dir is not None)
    return Offloading(TierOffload(tier, cost), reload)


def _host_stores(budget: int, block_bytes: Sequence[int]) -> list[list[BlockStore]]:
    """Equally many blocks for each layer group."""
    total = sum(block_bytes)
    return [[HostStore(budget * each // total, each)] for each in block_bytes]


def _disk_stores(
    config: EngineConfig, block_bytes: Sequence[int], model: Path, settings: dict[str, object]
) -> list[list[BlockStore]]:
    assert config.cache_dir is not None
    capacity = parse_bytes("cache_dir_size", config.cache_dir_size)
    return [
        [
            DiskStore(
                Path(config.cache_dir).expanduser(),
                fingerprint(model, {**settings, "group": group}),
                each,
                capacity,
                logger.warning,
            )
        ]
        for group, each in enumerate(block_bytes)
    ]
