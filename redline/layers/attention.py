"""Grouped-query attention over the paged cache (Ainslie et al., 2023; Kwon et al., 2023)."""

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
class Attention:
    """One layer's attention; `layer` picks its cache, `group` the block tables that lead through it."""

    layer: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    qkv: Linear
    output: Linear
    rotary: RotaryTable
    scale: float
    group: int = 0
    window: int = 0  # 0: all earlier tokens
    soft_cap: float = 0.0  # 0: off
    q_norm: RMSNorm | None = None
    k_norm: RMSNorm | None = None
    v_norm: RMSNorm | None = None

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
        """Attention over norm(x), plus the residual if there is one; stores all keys and values.

        [T, D], or [R, D] when only `rows_R` of the output are wanted.
        """
        num_heads = self.num_heads + 2 * self.num_kv_heads
        qkv_TO = self.qkv(ops, x_TD, norm=norm.operands)
        qkv_THD = qkv_TO.reshape(len(x_TD), num_heads, self.head_dim)
        o_THD: F32 = ops.rope_attention(
            *self._normed(ops, qkv_THD),
            *self.rotary.operands(batch.positions_T),
            batch.slots_GT[self.group],
            kv.k[self.layer],
            kv.v[self.layer],
            batch.block_tables_GSB[self.group],
            batch.query_start_S1,
            batch.context_lens_S,
            self.scale,
            self.window,
            self.soft_cap,
        )
        o_TD = o_THD.reshape(len(o_THD), self.num_heads * self.head_dim)
        return self.output(ops, take_rows(o_TD, rows_R), addend=residual_RD)

    def _normed(self, ops: Any, qkv_THD: F32) -> tuple[F32, ...]:
        last_key = self.num_heads + self.num_kv_heads
        parts = (qkv_THD[:, : self.num_heads], qkv_THD[:, self.num_heads : last_key], qkv_THD[:, last_key:])
        norms = (self.q_norm, self.k_norm, self.v_norm)
        return tuple(
            part if norm is None else norm(ops, part) for part, norm in zip(parts, norms, strict=True)
        )
