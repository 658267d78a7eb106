"""Gangs: sequences that advance together or not at all, like the beams of one search.

Gang scheduling (Ousterhout, ICDCS 1982): from the moment the first of a gang runs until none does, the batch
has a place for every one of them. So whoever has started never waits for a place that another gang holds.
It costs the places of beams that are not there yet, or not any more.
Memory is not reserved: a member gives way like any other sequence, and finds the blocks that it shared again.
Two gangs that both wait for one of their own would hold their blocks forever. So gangs are whole in the order
of those who run, and whoever others of its gang wait for is admitted before newcomers and takes the blocks of
whoever comes after its gang: the gang that came first always advances.
"""

from __future__ import annotations

from redline.errors import RequestError


class Gang:
    """At most `num_places` sequences run at once, each of them in the same step as the others."""

    __slots__ = ("_lead_id", "num_places", "num_running")

    def __init__(self, num_places: int) -> None:
        self.num_places = num_places
        self.num_running = 0
        self._lead_id: int | None = None

    def join(self, seq_id: int) -> int:
        """A sequence belongs to it from now on. Returns the id of the first one that did."""
        if self._lead_id is None:
            self._lead_id = seq_id
        return self._lead_id

    def check(self, max_batch: int, token_budget: int | None) -> None:
        """Raises RequestError when they could never share a step."""
        limits = [("max_batch", max_batch), ("chunked_prefill", token_budget)]
        for name, limit in limits:
            if limit is not None and self.num_places > limit:
                raise RequestError(
                    f"best_of is {self.num_places}, but the engine computes at most {limit} sequences in a "
                    f"step ({name}); lower best_of or raise {name}",
                    param="best_of",
                )
