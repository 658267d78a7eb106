"""FairOrder: tenants get equal service, whatever they ask for.

The virtual token counter (Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024): every tenant
has a counter of the tokens that it was served, and the waiting request of the tenant with the lowest counter
is admitted first. A tenant that was away comes back with a counter no lower than the lowest of those who are
here: time without requests is not saved up. It bounds how far two tenants with enough requests drift apart,
at any load, without reserving anything: who is alone gets the whole machine. It hurts those who send more
than their share.
"""

from __future__ import annotations

from collections import Counter, defaultdict

from redline.core.order import FirstComeOrder
from redline.core.queue import Key
from redline.core.sequence import Sequence

PROMPT_WEIGHT = 1.0  # of a token that is computed
MAX_AWAY = 1024  # tenants without a request whose counters are not looked through
OUTPUT_WEIGHT = 2.0  # of one that is sampled: it takes a step of its own


class FairOrder(FirstComeOrder):
    """Lowest counter first; first come, first served within a tenant. Priorities go before counters."""

    def __init__(self) -> None:
        self._served: defaultdict[str, float] = defaultdict(float)
        self._present: Counter[str] = Counter()  # sequences, by tenant
        self._moved = False

    def key(self, seq: Sequence) -> Key:
        return (seq.priority, self._served[seq.tenant], seq.arrival_s, seq.seq_id)

    def arrived(self, seq: Sequence) -> None:
        if seq.tenant not in self._present:
            lowest = min((self._served[tenant] for tenant in self._present), default=0.0)
            self._forget_below(lowest)
            self._served[seq.tenant] = max(self._served[seq.tenant], lowest)
            self._moved = True
        self._present[seq.tenant] += 1

    def admitted(self, seq: Sequence, num_tokens: int) -> bool:
        self._served[seq.tenant] += PROMPT_WEIGHT * num_tokens
        return True

    def sampled(self, seqs: list[Sequence]) -> None:
        for seq in seqs:
            self._served[seq.tenant] += OUTPUT_WEIGHT
        self._moved = bool(seqs) or self._moved

    def ended(self, seq: Sequence) -> None:
        self._present[seq.tenant] -= 1
        if not self._present[seq.tenant]:
            del self._present[seq.tenant]

    def _forget_below(self, lowest: float) -> None:
        """Drop the counters of those who are away and would be lifted to `lowest` if they came back."""
        if len(self._served) > 2 * len(self._present) + MAX_AWAY:
            kept = {tenant: n for tenant, n in self._served.items() if n > lowest or tenant in self._present}
            self._served = defaultdict(float, kept)

    def refresh(self, waiting: object) -> bool:
        moved, self._moved = self._moved, False
        return moved
