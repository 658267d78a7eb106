"""prepare(): turn the scheduler's plan into the arrays of one forward pass.

Selective batching (Yu et al., "Orca", OSDI 2022) is how a step works: the tokens of all sequences, prefill
chunks and decodes alike, lie flat on one axis for every token-wise operator; only attention looks at
sequences, through query_start, context_lens and block_tables.
"""

from __future__ import annotations

import numpy as np

from redline.core.plan import Plan, PlanItem
from redline.layers.batch import Batch


def prepare(plan: Plan, block_size: int, num_groups: int = 1) -> Batch:
    """The Batch of a plan; row r of its logits belongs to the r-th item that samples.

    `num_groups`: how many block tables a sequence has.
    """
    items = plan.items
    lengths = [item.num_tokens for item in items]
    query_start_S1 = np.zeros(len(items) + 1, np.int32)
    np.cumsum(lengths, out=query_start_S1[1:])
    token_ids_T = np.empty(query_start_S1[-1], np.int32)
    positions_T = np.empty(query_start_S1[-1], np.int32)
    tables = [_block_tables(items, group) for group in range(num_groups)]
    for index, item in enumerate(items):
        rows = slice(query_start_S1[index], query_start_S1[index + 1])
        token_ids_T[rows] = item.seq.tokens_at(item.start, item.num_tokens)
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
        logit_rows_R=np.array(
            [query_start_S1[index + 1] - 1 for index, item in enumerate(items) if item.samples], np.int32
        ),
    )


def _block_tables(items: tuple[PlanItem, ...], group: int) -> np.ndarray[tuple[int, int], np.dtype[np.int32]]:
    tables = [item.seq.block_tables[group] for item in items]
    tables_SB = np.zeros((len(items), max(map(len, tables))), np.int32)
    for index, table in enumerate(tables):
        tables_SB[index, : len(table)] = table
    # Nobody reads behind a window, but kernels want to see blocks there that exist.
    return np.maximum(tables_SB, 0, out=tables_SB)
