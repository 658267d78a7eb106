"""Branches in a plan: several continuations of a sequence, verified in one step.

Token trees (Miao et al., "SpecInfer", ASPLOS 2024; Cai et al., "Medusa", ICML 2024) without a kernel for
trees: a tree is as many chains as it has leaves. One is the sequence with its drafts, each other is a query
of its own, which reads the blocks of the sequence up to the one that is partly filled, and has scratch blocks
from there on: a copy of that one and new ones. It buys a second guess where the first is wrong. It costs the
rows of the last token and of what chains share once for each chain. When a branch was right for longest, the
sequence takes its blocks over, so nothing is computed again. Scratch blocks are taken without preempting
anyone and given back after the step.
"""

from __future__ import annotations

from collections.abc import Sequence as Many
from itertools import takewhile

from redline.core.block_tables import BlockTables
from redline.core.drafts import Branches
from redline.core.plan import Branch, Plan, PlanBuilder, PlanItem
from redline.core.sequence import Sequence
from redline.core.trace import Trace


class ScratchBranches:
    """Owns the scratch blocks of the open plan."""

    def __init__(self, tables: BlockTables, block_size: int) -> None:
        self._tables = tables
        self._block_size = block_size
        self._held: list[Branch] = []

    def add(self, builder: PlanBuilder, branches: Branches) -> None:
        """Let those who compute drafts compute their branches too, as far as budget and blocks allow."""
        for seq_id, chains in branches.items():
            item = builder.drafting(seq_id)
            if item is not None:
                for token_ids in chains:
                    self._add(builder, item, token_ids)

    def _add(self, builder: PlanBuilder, item: PlanItem, token_ids: Many[int]) -> None:
        seq = item.seq
        wanted = min(len(token_ids), seq.max_num_tokens - seq.num_tokens - 1)
        num_tokens = builder.budget.grant(1 + wanted)
        made = self._tables.branch(seq, item.start + num_tokens) if num_tokens > 1 else None
        if made is None:
            builder.budget.give_back(num_tokens)
            return
        tables, copies = made
        branch = Branch(seq, item.start, tuple(token_ids[: num_tokens - 1]), tables)
        self._held.append(branch)
        builder.add_branch(branch, copies)

    def follow(self, plan: Plan, seq: Sequence, drafts: Many[int], right: Many[int], trace: Trace) -> None:
        """Before tokens that were right are counted: give a sequence the blocks that hold them."""
        right = tuple(right)
        num_shared = sum(
            1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(drafts, right, strict=False))
        )
        if num_shared == len(right):
            return
        found = (each for each in plan.branches if each.seq is seq and each.drafts[: len(right)] == right)
        self._tables.adopt(seq, next(found).block_tables)
        trace.record(seq.seq_id, "branch", len(right) - num_shared, num_shared)

    def release(self) -> None:
        """Give the scratch blocks back."""
        for branch in self._held:
            self._tables.release_branch(branch.block_tables, branch.start // self._block_size)
        self._held.clear()

    def blocks(self, group: int) -> list[int]:
        """The scratch blocks of a layer group."""
        return [
            block
            for branch in self._held
            for block in branch.block_tables[group][branch.start // self._block_size :]
        ]
