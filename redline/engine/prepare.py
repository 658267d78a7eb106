"""prepare(): turn the scheduler's plan into the arrays of one forward pass.

Selective batching (Yu et al., "Orca", OSDI 2022) is how a step works: the tokens of all sequences, prefill
chunks and decodes alike, lie flat on one axis for every token-wise operator; only attention looks at
sequences, through query_start, context_lens and block_tables.
"""

from __future__ import annotations

from itertools import chain

import numpy as np

from redline.core.plan import Branch, Plan, PlanItem
from redline.layers.batch import Batch
from redline.ops.arrays import I32


def prepare(plan: Plan, block_size: int, num_groups: int = 1) -> Batch:
    """The Batch of a plan; its logits are those of the items that sample, then of branches, in order.

    Each has one row, of its last known token, and one more for each of its drafts.

    `num_groups`: how many block tables a sequence has.
    """
    items: tuple[PlanItem | Branch, ...] = (*plan.items, *plan.branches)
    lengths = [item.num_tokens for item in items]
    query_start_S1 = np.zeros(len(items) + 1, np.int32)
    np.cumsum(lengths, out=query_start_S1[1:])
    token_ids_T = np.empty(query_start_S1[-1], np.int32)
    positions_T = np.empty(query_start_S1[-1], np.int32)
    tables = [_block_tables(plan, group) for group in range(num_groups)]
    for index, item in enumerate(items):
        rows = slice(query_start_S1[index], query_start_S1[index + 1])
        token_ids_T[rows] = [*item.seq.tokens_at(item.start, item.num_tokens), *item.drafts]
        positions_T[rows] = np.arange(item.start, item.start + item.num_tokens)
    sequence_T = np.repeat(np.arange(len(items)), lengths)
    within_T = positions_T % block_size
    slots = [
        (table_SB[sequence_T, positions_T // block_size] * block_size + within_T).astype(np.int32)
        for table_SB in tables
    ]
    return Batch(
        token_ids_T=token_ids_T,
        positions_T=positions_T,
        slots_GT=tuple(slots),
        block_tables_GSB=tuple(tables),
        query_start_S1=query_start_S1,
        context_lens_S=np.array([item.start + item.num_tokens for item in items], np.int32),
        logit_rows_R=_logit_rows(items, query_start_S1),
    )


def _logit_rows(items: tuple[PlanItem | Branch, ...], query_start_S1: I32) -> I32:
    if any(item.drafts for item in items):
        rows = [
            range(query_start_S1[index + 1] - 1 - len(item.drafts), query_start_S1[index + 1])
            for index, item in enumerate(items)
            if item.samples
        ]
        return np.fromiter(chain.from_iterable(rows), np.int32)
    rows_R = [query_start_S1[index + 1] - 1 for index, item in enumerate(items) if item.samples]
    return np.array(rows_R, np.int32)


def _block_tables(plan: Plan, group: int) -> I32:
    tables = [item.seq.block_tables[group] for item in plan.items]
    tables += [branch.block_tables[group] for branch in plan.branches]
    tables_SB = np.zeros((len(tables), max(map(len, tables))), np.int32)
    for index, table in enumerate(tables):
        tables_SB[index, : len(table)] = table
    # Nobody reads behind a window, but kernels want to see blocks there that exist.
    return np.maximum(tables_SB, 0, out=tables_SB)
