"""DraftModel: a smaller model with the same vocabulary drafts what the large one verifies.

Leviathan et al., "Fast Inference from Transformers via Speculative Decoding", ICML 2023; Chen et al.,
"Accelerating Large Language Model Decoding with Speculative Sampling", 2023. It drafts its likeliest tokens,
for all sequences in one pass a token, and verification keeps those that the large model draws. It buys most
where the small model is much cheaper and often agrees; it costs its weights and a cache of its own, and a
pass over each prompt.
"""

from __future__ import annotations

from collections.abc import Sequence as Many

from redline.core.sequence import Sequence
from redline.decoding.speculative.proposer import BatchProposer
from redline.engine.draft_blocks import DraftBlocks
from redline.engine.draft_passes import DraftPasses, Span


class DraftModel(BatchProposer):
    """Before it drafts, it computes the tokens that it has not seen, at most `chunk` of them in a step.

    `num_groups`: layer groups of the draft model, which all use the target's tables that keep every block.
    """

    def __init__(
        self, passes: DraftPasses, blocks: DraftBlocks, num_groups: int, max_context: int, chunk: int
    ) -> None:
        self.max_context = max_context
        self.costs = passes.costs
        self._passes = passes
        self._blocks = blocks
        self._num_groups = num_groups
        self._chunk = chunk

    def propose(self, wanted: Many[tuple[Sequence, int]]) -> list[list[int]]:
        left = self._chunk
        behind: list[tuple[Sequence, Span]] = []
        ready: list[tuple[int, Span]] = []
        for index, (seq, _) in enumerate(wanted):
            start = self._blocks.start(seq)
            unseen = seq.num_tokens - start
            taken = min(unseen, left)
            left -= taken
            span = Span(seq.tokens_at(start, taken), start, (seq.block_tables[0],) * self._num_groups)
            if taken == unseen:
                ready.append((index, span))
            elif taken:
                behind.append((seq, span))
        self._fill(behind)
        return self._draft(wanted, ready)

    def _fill(self, behind: list[tuple[Sequence, Span]]) -> None:
        self._passes.fill([span for _, span in behind])
        for seq, span in behind:
            self._blocks.computed(seq, span.start, span.end)

    def _draft(self, wanted: Many[tuple[Sequence, int]], ready: list[tuple[int, Span]]) -> list[list[int]]:
        drafts: list[list[int]] = [[] for _ in wanted]
        lengths = [wanted[index][1] for index, _ in ready]
        drafted = self._passes.draft([span for _, span in ready], lengths)
        for (index, span), tokens in zip(ready, drafted, strict=True):
            drafts[index] = tokens
            # The last one was drawn and not computed.
            self._blocks.computed(wanted[index][0], span.start, span.end, tokens[:-1])
        return drafts

    def ended(self, seq: Sequence) -> None:
        self._blocks.ended(seq)
