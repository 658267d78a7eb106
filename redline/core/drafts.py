"""Drafts in a plan: tokens that a decode computes although nobody knows yet that they come next.

Their keys and values are written behind those of the sequence. What the model then agrees with counts as
computed; the rest is overwritten by the tokens that come instead. Drafts take what is left: of the budget
after decodes and prompts, and of the blocks without preempting anyone.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Many

from redline.core.block_tables import BlockTables
from redline.core.plan import PlanBuilder

Drafts = Mapping[int, Many[int]]  # by sequence id: tokens that may follow its last one
Branches = Mapping[int, Many[Many[int]]]  # by sequence id: what else may follow, for those with drafts
NO_DRAFTS: Drafts = {}
NO_BRANCHES: Branches = {}


def num_branch_rows(branches: Branches) -> int:
    """Rows of branches, each of which has one more than it has tokens."""
    return sum(1 + len(token_ids) for chains in branches.values() for token_ids in chains)


def add_drafts(builder: PlanBuilder, tables: BlockTables, drafts: Drafts) -> None:
    """Let the decodes of a plan compute their drafts too, as far as budget, blocks and their length allow."""
    for seq_id, token_ids in drafts.items():
        item = builder.decode_of(seq_id)
        if item is None:
            continue
        seq = item.seq
        # The step adds all of them and one more token at most.
        wanted = min(len(token_ids), seq.max_num_tokens - seq.num_tokens - 1)
        num_drafts = builder.budget.grant(wanted) if wanted > 0 else 0
        end = item.start + 1 + num_drafts
        if end > seq.num_writable_tokens:
            if not tables.reserve(seq, end):
                builder.budget.give_back(num_drafts)
                continue
            copies = tables.extend(seq, end)
            assert not copies, f"{seq} was to write to a shared block at {item.start}"
        if num_drafts:
            builder.add_drafts(seq_id, tuple(token_ids[:num_drafts]))
