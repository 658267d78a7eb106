"""The generic decoder: embedding, blocks, final norm, output projection.

Between blocks travels the residual stream alone: each sublayer takes it, norms it as it reads, and adds to it
as it writes (see redline/ops/fused.py). A family in which more travels has a stem of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any, Protocol

from redline.cache.paged import PagedKV
from redline.errors import UnsupportedModel
from redline.layers.attention import Attention
from redline.layers.batch import Batch, only_rows, take_rows
from redline.layers.linear import Linear
from redline.layers.mlp import GatedMLP
from redline.layers.norm import RMSNorm
from redline.layers.rotary import RotaryTable
from redline.layers.shared_attention import SharedAttention
from redline.models.spec import ModelSpec
from redline.models.stem import PlainStem, StemType
from redline.models.weights import WeightSource
from redline.ops.arrays import F32, I32
from redline.quant.base import Weight


class Block(Protocol):
    """One layer."""

    def __call__(self, ops: Any, x_TD: Any, batch: Batch, kv: PagedKV, rows_R: I32 | None) -> Any:
        """The residual stream after this layer, [T, D], or what the stem lets travel in its place.

        Stores the keys and values of all T tokens. With `rows_R`, only those rows go further: [R, D].
        """


class BlockType(Protocol):
    """Builds one layer from its tensors."""

    def __call__(self, spec: ModelSpec, layer: int, weights: WeightSource, rotary: RotaryTable) -> Block: ...


class PreNormBlock:
    """Attention and MLP, each behind a norm of its input: Llama and most families after it."""

    def __init__(self, spec: ModelSpec, layer: int, weights: WeightSource, rotary: RotaryTable) -> None:
        self.attention_norm = load_norm(spec, weights, f"blk.{layer}.attn_norm")
        self.attention = load_attention(spec, layer, weights, rotary)
        self.mlp_norm = load_norm(spec, weights, f"blk.{layer}.ffn_norm")
        self.mlp = load_mlp(spec, layer, weights)

    def __call__(self, ops: Any, x_TD: F32, batch: Batch, kv: PagedKV, rows_R: I32 | None) -> F32:
        residual_RD = take_rows(x_TD, rows_R)
        x_RD = self.attention(ops, x_TD, self.attention_norm, batch, kv, rows_R, residual_RD)
        return self.mlp(ops, x_RD, self.mlp_norm, residual_TD=x_RD)


class Decoder:
    """A loaded model: tokens to logits.

    Raises ModelError when a tensor is missing, has the wrong shape, or belongs to no part of the model.
    """

    def __init__(
        self,
        spec: ModelSpec,
        weights: WeightSource,
        block_type: BlockType,
        ops: Any,
        stem_type: StemType = PlainStem,
    ) -> None:
        self.spec = spec
        self.ops = ops
        self.embedding = _matrix(weights, "token_embd", spec.vocab_size, spec.hidden_size)
        self.stem = stem_type(spec, weights)
        rotaries = {rope: RotaryTable(rope, spec.max_context) for rope in spec.ropes}
        self.rotaries = tuple(rotaries.values())
        self.blocks: Sequence[Block] = [
            block_type(spec, index, weights, rotaries[layer.rope]) for index, layer in enumerate(spec.layers)
        ]
        self._last_owner = max(spec.kv_owners)
        self.output_norm = load_norm(spec, weights, "output_norm")
        self.keeps_hidden = False  # of each pass in `hidden_RD`: what the final norm reads, for heads
        self.keeps_all_hidden = False  # the same of all tokens, not only of those that give logits
        self.hidden_RD: F32 | None = None
        self.output = self.embedding
        if not spec.tied_embeddings:
            self.output = _matrix(weights, "output", spec.vocab_size, spec.hidden_size)
        weights.finish()

    def forward(self, batch: Batch, kv: PagedKV) -> F32:
        """Logits [R, vocabulary], float32, of the rows in batch.logit_rows_R; fills `kv` for all tokens."""
        if not len(batch.logit_rows_R):
            # A prompt's earlier chunks. Kernels want a row, and one is too cheap to deserve another path.
            return self.logits(self.hidden(batch, kv, batch.query_start_S1[:1]))[:0]
        return self.logits(self.hidden(batch, kv, batch.logit_rows_R))

    def only(self, layers: Sequence[int]) -> Decoder:
        """The same weights with these layers alone. Each uses its own part of the cache, as before.

        Raises UnsupportedModel when layers share keys and values.
        """
        if any(layer.kv_owner is not None for layer in self.spec.layers):
            raise UnsupportedModel(
                f"layers of {self.spec.architecture} share keys and values, so none can be left out"
            )
        part = copy(self)
        part.blocks = [self.blocks[layer] for layer in layers]
        part._last_owner = len(layers) - 1
        return part

    def set_max_context(self, max_context: int) -> None:
        """State the longest context to be served, before any token is computed (see RotaryTable)."""
        for rotary in self.rotaries:
            rotary.set_max_context(max_context)

    def hidden(self, batch: Batch, kv: PagedKV, rows_R: I32) -> F32:
        """What logits() takes, [R, D], of these rows, in ascending order; fills `kv` for all tokens."""
        ops = self.ops
        self.cover_positions(batch)
        x_TD = self.embedding.embedding(ops, batch.token_ids_T)
        if self.spec.embedding_scale != 1.0:
            x_TD = ops.scale(x_TD, self.spec.embedding_scale)
        wanted_R = None if len(rows_R) == len(x_TD) else rows_R
        x_TD = self.stem.enter(ops, x_TD, batch.token_ids_T)
        if not self.keeps_all_hidden:
            return self.stem.leave(ops, self._blocks(x_TD, batch, kv, wanted_R))
        self.hidden_RD = self.stem.leave(ops, self._blocks(x_TD, batch, kv, None))
        return take_rows(self.hidden_RD, wanted_R)

    def normed(self, x_RD: F32) -> F32:
        """The final hidden states, [R, D], of rows of hidden(): what the output matrix is multiplied with."""
        return self.output_norm(self.ops, x_RD)

    def logits(self, x_RD: F32) -> F32:
        """Logits [R, vocabulary] of rows of hidden(); each row's are the same beside whatever others."""
        if self.keeps_hidden:
            self.hidden_RD = x_RD
        logits_RV: F32 = self.output.matmul(self.ops, x_RD, norm=self.output_norm.operands)
        if self.spec.final_soft_cap:
            logits_RV = self.ops.softcap(logits_RV, self.spec.final_soft_cap)
        return logits_RV

    def _blocks(self, x_TD: Any, batch: Batch, kv: PagedKV, rows_R: I32 | None) -> Any:
        """All blocks. Those behind the last that stores keys and values compute the wanted rows alone."""
        for index, block in enumerate(self.blocks):
            rows = rows_R if index == self._last_owner else None
            x_TD = block(self.ops, x_TD, batch, kv, rows)
            if rows is not None:
                batch = only_rows(batch, rows)
        return x_TD

    def cover_positions(self, batch: Batch) -> int:
        """Make the rotary tables reach as far as the batch; returns how often any has moved, ever."""
        num_positions = int(batch.context_lens_S.max())
        for rotary in self.rotaries:
            rotary.cover(num_positions)
        return sum([rotary.num_moves for rotary in self.rotaries])


def load_norm(spec: ModelSpec, weights: WeightSource, name: str, size: int | None = None) -> RMSNorm:
    """The norm called `name`, over the hidden size unless told otherwise."""
    return RMSNorm(weights.vector((f"{name}.weight", size or spec.hidden_size)), spec.norm_eps)


def load_attention(
    spec: ModelSpec, layer: int, weights: WeightSource, rotary: RotaryTable
) -> Attention | SharedAttention:
    """Attention of one layer, to keys and values of its own or to those of the layer it shares them with."""
    owner = spec.layers[layer].kv_owner
    if owner is not None:
        return _load_shared_attention(spec, layer, owner, weights, rotary)
    return _load_own_attention(spec, layer, weights, rotary)


def _load_own_attention(spec: ModelSpec, layer: int, weights: WeightSource, rotary: RotaryTable) -> Attention:
    """Queries, keys and values in one projection.

    That projection gets precise activations: it is a sixth of the layer's arithmetic, but a third of the
    divergence that 8-bit activations cause comes from there (docs/LOG.md).
    """
    prefix, kv_size = f"blk.{layer}.attn_", spec.num_kv_heads * spec.head_dim
    parts = [(f"{prefix}q", spec.query_size), (f"{prefix}k", kv_size), (f"{prefix}v", kv_size)]
    return Attention(
        layer=layer,
        num_kv_heads=spec.num_kv_heads,
        qkv=load_linear(weights, parts, spec.hidden_size, spec.qkv_bias).with_precise_activations(),
        k_norm=_head_norm(spec, weights, f"{prefix}k_norm"),
        v_norm=RMSNorm.without_weight(spec.head_dim, spec.norm_eps) if spec.v_norm else None,
        **_queries_and_output(spec, layer, weights, rotary),
    )


def _load_shared_attention(
    spec: ModelSpec, layer: int, owner: int, weights: WeightSource, rotary: RotaryTable
) -> SharedAttention:
    query = load_linear(weights, [(f"blk.{layer}.attn_q", spec.query_size)], spec.hidden_size, spec.qkv_bias)
    return SharedAttention(
        owner=owner,
        query=query.with_precise_activations(),
        **_queries_and_output(spec, layer, weights, rotary),
    )


def _queries_and_output(
    spec: ModelSpec, layer: int, weights: WeightSource, rotary: RotaryTable
) -> dict[str, Any]:
    """What both kinds of attention have."""
    prefix = f"blk.{layer}.attn_"
    output = [(f"{prefix}output", spec.hidden_size)]
    return {
        "num_heads": spec.num_heads,
        "head_dim": spec.head_dim,
        "output": load_linear(weights, output, spec.query_size, spec.attention_output_bias),
        "rotary": rotary,
        "scale": spec.attention_scale,
        "group": spec.group_of_layer[layer],
        "window": spec.layers[layer].window,
        "soft_cap": spec.attention_soft_cap,
        "q_norm": _head_norm(spec, weights, f"{prefix}q_norm"),
    }


def _head_norm(spec: ModelSpec, weights: WeightSource, name: str) -> RMSNorm | None:
    return load_norm(spec, weights, name, spec.head_dim) if spec.qk_norm else None


def load_mlp(spec: ModelSpec, layer: int, weights: WeightSource) -> GatedMLP:
    """The MLP of one layer, with gate and up in one projection."""
    prefix, size = f"blk.{layer}.ffn_", spec.intermediate_size
    gate_up = [(f"{prefix}gate", size), (f"{prefix}up", size)]
    return GatedMLP(
        gate_up=load_linear(weights, gate_up, spec.hidden_size, spec.mlp_bias),
        down=load_linear(weights, [(f"{prefix}down", spec.hidden_size)], size, spec.mlp_bias),
        activation=spec.activation,
    )


def load_linear(
    weights: WeightSource, parts: Sequence[tuple[str, int]], num_inputs: int, bias: bool = False
) -> Linear:
    """The matrices (name, num_outputs) under each other, with their biases if they have some."""
    weight = weights.matrix([(f"{name}.weight", size) for name, size in parts], num_inputs)
    return Linear(weight, weights.vector(*((f"{name}.bias", size) for name, size in parts)) if bias else None)


def _matrix(weights: WeightSource, name: str, num_outputs: int, num_inputs: int) -> Weight:
    return weights.matrix([(f"{name}.weight", num_outputs)], num_inputs)
