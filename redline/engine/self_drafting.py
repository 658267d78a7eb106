"""SelfDrafting: the model drafts with some of its own layers, and verifies with all of them.

Leaving out layers in the middle is Draft & Verify (Zhang et al., "Draft & Verify: Lossless Large Language
Model Acceleration via Self-Speculative Decoding", 2023), leaving after the first few is LayerSkip (Elhoushi
et al., 2024). Drafting reads the keys and values that the model itself has stored, and what it stores is
overwritten in the same step by verification: it costs no weights and no cache. It buys little with a model
that was not trained to be left early, and with one whose vocabulary is most of its work.
"""

from __future__ import annotations

from collections.abc import Sequence as Many

from redline.core.sequence import Sequence
from redline.decoding.speculative.proposer import BatchProposer
from redline.engine.draft_passes import DraftPasses, Span


class SelfDrafting(BatchProposer):
    """`passes` run a part of the model's layers on the model's cache."""

    def __init__(self, passes: DraftPasses, max_context: int) -> None:
        self.max_context = max_context
        self.costs = passes.costs
        self._passes = passes

    def propose(self, wanted: Many[tuple[Sequence, int]]) -> list[list[int]]:
        spans = [
            Span(seq.tokens_at(seq.num_tokens - 1, 1), seq.num_tokens - 1, seq.block_tables)
            for seq, _ in wanted
        ]
        return self._passes.draft(spans, [length for _, length in wanted])
