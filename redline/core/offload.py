"""Offload: blocks that leave the cache go to slower memory, and come back when a prompt wants them.

Cold blocks of the prefix index spill to host memory or to disk instead of being forgotten (Qin et al.,
"Mooncake", 2024; Gao et al., "CachedAttention", USENIX ATC 2024), under a key that is a hash of all tokens
up to the block's end. Where the index ends and such blocks go on, they are loaded instead of computed, if
that is predicted to be faster. It buys time to first token wherever a beginning comes back after it was
evicted, or after a restart. It is also what swaps a preempted sequence (preemption.py): its blocks spill
when others need the room, and come back with it. It hurts by the copies it makes, which are useless if nobody
comes back. Exact, because what comes back are the same bits, under a checksum.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from hashlib import blake2b
from typing import Protocol

from redline.core.average import smoothed

DECAY = 0.8  # of what was measured before, with each new measurement


class Tier(Protocol):
    """Slower memory behind the cache, of blocks of each layer group. See cache/tier.py."""

    def holds(self, group: int, key: bytes) -> bool:
        """Whether a block can be loaded, as far as is known."""

    def spill(self, group: int, key: bytes, block: int) -> None:
        """Copy out a block that is about to be overwritten."""

    def persist(self, group: int, key: bytes, block: int) -> None:
        """Copy out a block that stays, if this memory outlives the process."""


class Offload(Protocol):
    """What index and tables ask of it. Counts tokens (of the first layer group) and blocks of all groups."""

    num_loaded_tokens: int
    num_spilled_blocks: int

    def holds(self, group: int, key: bytes) -> bool:
        """Whether a block can be had from slower memory."""

    def pays(self) -> bool:
        """Whether loading is predicted to beat computing."""

    def spill(self, group: int, key: Callable[[], bytes], block: int) -> None:
        """A block is about to leave the cache."""

    def persist(self, group: int, key: Callable[[], bytes], block: int) -> None:
        """A block might leave the cache unforeseen."""


class NullOffload:
    """What leaves is forgotten."""

    def __init__(self) -> None:
        self.num_loaded_tokens = self.num_spilled_blocks = 0

    def holds(self, group: int, key: bytes) -> bool:
        return False

    def pays(self) -> bool:
        return False

    def spill(self, group: int, key: Callable[[], bytes], block: int) -> None:
        pass

    def persist(self, group: int, key: Callable[[], bytes], block: int) -> None:
        pass


class TierOffload:
    """What leaves goes to a tier, as long as loading is not known to be slower than computing."""

    def __init__(self, tier: Tier, cost: ReloadCost) -> None:
        self.num_loaded_tokens = self.num_spilled_blocks = 0
        self._tier = tier
        self._cost = cost

    def holds(self, group: int, key: bytes) -> bool:
        return self._tier.holds(group, key)

    def pays(self) -> bool:
        return self._cost.pays()

    def spill(self, group: int, key: Callable[[], bytes], block: int) -> None:
        if self._cost.pays():
            self._tier.spill(group, key(), block)
            self.num_spilled_blocks += 1

    def persist(self, group: int, key: Callable[[], bytes], block: int) -> None:
        self._tier.persist(group, key(), block)


class ReloadCost:
    """Seconds that a token costs to compute and to load, measured as both happen.

    Until both are known, loading is taken to pay, so that it becomes known. That later tokens of a prompt
    cost more to compute, and not to load, is left out: loading is chosen a little too rarely.
    """

    def __init__(self) -> None:
        self.compute_s: float | None = None
        self.load_s: float | None = None

    def computed(self, num_tokens: int, seconds: float) -> None:
        """A step computed so many tokens, most of them of prompts."""
        self.compute_s = smoothed(self.compute_s, seconds / num_tokens, DECAY)

    def loaded(self, num_tokens: int, seconds: float) -> None:
        """So many tokens came from slower memory."""
        self.load_s = smoothed(self.load_s, seconds / num_tokens, DECAY)

    def pays(self) -> bool:
        return self.compute_s is None or self.load_s is None or self.load_s < self.compute_s


def root_key(salt: str) -> bytes:
    """The key before the first block of all sequences of a salt."""
    return blake2b(salt.encode(), digest_size=16, person=b"redline").digest()


def next_key(key: bytes, token_ids: list[int] | tuple[int, ...]) -> bytes:
    """The key of the block with these tokens, after the block, or the root, of another key."""
    return blake2b(key + array("i", token_ids).tobytes(), digest_size=16).digest()
