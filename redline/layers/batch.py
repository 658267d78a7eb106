"""Batch: the arrays of one forward pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from redline.ops.arrays import F32, I32


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The tokens of S sequences, T in all, flat on one axis. Everything is int32.

    Sequence s owns rows query_start[s]:query_start[s+1]; its last row sits at position context_lens[s]-1.
    Slots and block tables are there for each of G layer groups: the keys and values of row t are stored in
    cache slot slots[g][t] = block * block_size + offset, or nowhere when that is negative. Logits are
    computed for the R rows in logit_rows only.
    """

    token_ids_T: I32
    positions_T: I32
    slots_GT: tuple[I32, ...]
    block_tables_GSB: tuple[I32, ...]
    query_start_S1: I32
    context_lens_S: I32
    logit_rows_R: I32


def take_rows(x_TD: F32, rows_R: I32 | None) -> F32:
    """Rows `rows_R` of x, [R, D]; None: all of them."""
    return x_TD if rows_R is None else x_TD[rows_R]


def only_rows(batch: Batch, rows_R: I32) -> Batch:
    """Those tokens alone, each a sequence of its own, for layers that store no keys and values."""
    sequences_R = np.searchsorted(batch.query_start_S1, rows_R, side="right") - 1
    positions_R = batch.positions_T[rows_R]
    return Batch(
        token_ids_T=batch.token_ids_T[rows_R],
        positions_T=positions_R,
        slots_GT=tuple(np.full_like(positions_R, -1) for _ in batch.slots_GT),
        block_tables_GSB=tuple(tables_SB[sequences_R] for tables_SB in batch.block_tables_GSB),
        query_start_S1=np.arange(len(rows_R) + 1, dtype=np.int32),
        context_lens_S=positions_R + np.int32(1),
        logit_rows_R=np.arange(len(rows_R), dtype=np.int32),
    )
