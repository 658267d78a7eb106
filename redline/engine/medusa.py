"""MedusaDrafting: heads on the model's last hidden state draft, with no model of their own.

Cai et al., "Medusa", ICML 2024: what head i finds likeliest is token i of the draft. Each branch of a tree
begins with another of the likeliest tokens of the first head, and goes on as the draft does. The hidden state
that gave a sequence its last token is a row of the last step, still where that step left it. It buys drafts
for a matrix to the vocabulary each, where a draft model costs a pass. The heads must have been trained for
the model.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Many
from typing import Any

from redline.core.plan import Branch, Plan, PlanItem
from redline.core.sequence import Sequence
from redline.decoding.sampler import NO_TOKEN
from redline.decoding.speculative.costs import StepCosts
from redline.decoding.speculative.proposer import TreeProposer
from redline.engine.forward import Forward
from redline.layers.norm import RMSNorm
from redline.models.medusa import MedusaHeads


class MedusaDrafting(TreeProposer):
    """`forward` runs a decoder that keeps hidden states; `norm` is its last one."""

    def __init__(
        self,
        heads: MedusaHeads,
        forward: Forward,
        norm: RMSNorm,
        ops: Any,
        max_context: int,
        clock: Callable[[], float],
    ) -> None:
        self.max_context = max_context
        self.costs = StepCosts()
        self._heads = heads
        self._forward = forward
        self._norm = norm
        self._ops = ops
        self._clock = clock
        self._rows: dict[int, int] = {}  # of the last step, which gave each sequence its last token
        self._computed: dict[
            int, list[tuple[tuple[int, ...], int]]
        ] = {}  # its drafts, and the row before each

    def propose(self, wanted: Many[tuple[Sequence, int]]) -> list[list[int]]:
        return [tree[0] if tree else [] for tree in self.propose_trees(wanted, 1)]

    def propose_trees(self, wanted: Many[tuple[Sequence, int]], count: int) -> list[list[list[int]]]:
        start_s = self._clock()
        hidden_RD = self._forward.hidden_RD
        num_rows = 0 if hidden_RD is None else len(hidden_RD)  # none of a step that failed
        known = [
            index for index, (seq, _) in enumerate(wanted) if self._rows.get(seq.seq_id, num_rows) < num_rows
        ]
        if hidden_RD is None or not known:
            return [[] for _ in wanted]
        rows = [self._rows[wanted[index][0].seq_id] for index in known]
        x_RD = self._norm(self._ops, hidden_RD[rows])
        most = min(max(wanted[index][1] for index in known), self._heads.num_heads)
        firsts = self._heads.ranked(self._ops, x_RD, 0, count)
        later = [self._heads.guess(self._ops, x_RD, head) for head in range(1, most)]
        trees: list[list[list[int]]] = [[] for _ in wanted]
        for row, index in enumerate(known):
            chains = [[int(guess_R[row]) for guess_R in (first_R, *later)] for first_R in firsts]
            trees[index] = [_known(chain[: wanted[index][1]]) for chain in chains]
        self.costs.measured(len(known), (self._clock() - start_s) / most)
        return trees

    def computed(self, plan: Plan) -> None:
        """Remember the rows of the step; a draft that comes moves a sequence on by one."""
        self._rows.clear()
        self._computed.clear()
        num_rows = 0
        computed: tuple[PlanItem | Branch, ...] = (*plan.items, *plan.branches)
        for each in computed:
            if each.samples:
                self._rows.setdefault(each.seq.seq_id, num_rows)
                self._computed.setdefault(each.seq.seq_id, []).append((each.drafts, num_rows))
                num_rows += 1 + len(each.drafts)

    def verified(self, seq: Sequence, num_right: int) -> None:
        right = tuple(seq.output_token_ids[-1 - num_right : -1])  # those of a branch, maybe
        rows = (row for drafts, row in self._computed[seq.seq_id] if drafts[:num_right] == right)
        self._rows[seq.seq_id] = next(rows) + num_right

    def ended(self, seq: Sequence) -> None:
        self._rows.pop(seq.seq_id, None)


def _known(chain: list[int]) -> list[int]:
    """Up to where a head had no numbers."""
    return chain[: chain.index(NO_TOKEN)] if NO_TOKEN in chain else chain
