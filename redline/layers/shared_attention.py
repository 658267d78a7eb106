"""SharedAttention: a layer that attends to the keys and values of an earlier one.

Cross-layer sharing (Brandon et al., Cross-Layer Attention, 2024; Sun et al., YOCO, 2024): such a layer has
projections to queries alone, stores nothing, and reads what its owner stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from redline.layers.batch import Batch, take_rows
from redline.layers.linear import Linear
from redline.layers.norm import NoNorm, RMSNorm
from redline.layers.rotary import RotaryTable
from redline.ops.arrays import F32, I32

if TYPE_CHECKING:
    from redline.cache.paged import PagedKV


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedAttention:
    """`owner` is the layer whose cache this one reads; its rope and its window are the same."""

    owner: int
    num_heads: int
    head_dim: int
    query: Linear
    output: Linear
    rotary: RotaryTable
    scale: float
    group: int = 0  # the block tables that lead through that cache
    window: int = 0  # 0: all earlier tokens
    soft_cap: float = 0.0  # 0: off
    q_norm: RMSNorm | None = None

    def __call__(
        self,
        ops: Any,
        x_TD: F32,
        norm: RMSNorm | NoNorm,
        batch: Batch,
        kv: PagedKV,
        rows_R: I32 | None = None,
        residual_RD: F32 | None = None,
    ) -> F32:
        """Attention over norm(x), plus the residual if there is one.

        [T, D], or [R, D] when only `rows_R` of the output are wanted.
        """
        q_TO = self.query(ops, x_TD, norm=norm.operands)
        q_THD = q_TO.reshape(len(x_TD), self.num_heads, self.head_dim)
        if self.q_norm is not None:
            q_THD = self.q_norm(ops, q_THD)
        o_THD: F32 = ops.attention(
            ops.rope(q_THD, *self.rotary.operands(batch.positions_T)),
            kv.k[self.owner],
            kv.v[self.owner],
            batch.block_tables_GSB[self.group],
            batch.query_start_S1,
            batch.context_lens_S,
            self.scale,
            self.window,
            self.soft_cap,
        )
        o_TD = o_THD.reshape(len(o_THD), self.num_heads * self.head_dim)
        return self.output(ops, take_rows(o_TD, rows_R), addend=residual_RD)
