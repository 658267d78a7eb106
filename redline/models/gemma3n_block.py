"""One layer of Gemma 3n: AltUp around attention and MLP, a residual of low rank, an embedding of its own."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

from redline.cache.paged import PagedKV
from redline.layers.altup import AltUp
from redline.layers.batch import Batch, take_rows
from redline.layers.laurel import Laurel
from redline.layers.mlp import GatedMLP
from redline.layers.norm import RMSNorm
from redline.layers.rotary import RotaryTable
from redline.layers.sparse_mlp import SparseMLP
from redline.models.decoder import load_attention, load_linear, load_mlp, load_norm
from redline.models.gemma3n_spec import Gemma3nSpec
from redline.models.gemma3n_stem import Streams
from redline.models.spec import ModelSpec
from redline.models.weights import WeightSource
from redline.ops.arrays import F32, I32


class Gemma3nBlock:
    """Predict the streams, run attention and MLP on one, correct all, add the layer's embedding."""

    def __init__(self, spec: ModelSpec, layer: int, weights: WeightSource, rotary: RotaryTable) -> None:
        assert spec.gemma3n is not None, spec.architecture
        prefix = f"blk.{layer}."
        self.altup = load_altup(spec, spec.gemma3n, layer, weights)
        self.attention_norm = load_norm(spec, weights, f"{prefix}attn_norm")
        self.attention = load_attention(spec, layer, weights, rotary)
        self.post_attention_norm = load_norm(spec, weights, f"{prefix}post_attention_norm")
        self.laurel = load_laurel(spec, spec.gemma3n, layer, weights)
        self.mlp_norm = load_norm(spec, weights, f"{prefix}ffn_norm")
        self.mlp = load_sparse_mlp(spec, spec.gemma3n, layer, weights)
        self.post_mlp_norm = load_norm(spec, weights, f"{prefix}post_ffw_norm")
        self.embedding = LayerEmbedding(spec, spec.gemma3n, layer, weights)

    def __call__(self, ops: Any, x_TD: Streams, batch: Batch, kv: PagedKV, rows_R: I32 | None) -> Streams:
        predicted = Streams(self.altup.predict(ops, x_TD.streams_TD), x_TD.per_layer_TP)
        active_TD = predicted.streams_TD[self.altup.active]
        attended_RD = self.attention(ops, active_TD, self.attention_norm, batch, kv, rows_R)
        predicted = predicted.rows(rows_R)
        activated_RD = self._activate(ops, take_rows(active_TD, rows_R), attended_RD)
        corrected_RD = self.altup.correct(ops, predicted.streams_TD, activated_RD)
        handed_RD = self.embedding(ops, corrected_RD[self.altup.active], predicted.per_layer_TP)
        others_RD = [ops.add(stream_RD, handed_RD) for stream_RD in corrected_RD[1:]]
        return Streams([corrected_RD[0], *others_RD], predicted.per_layer_TP)

    def _activate(self, ops: Any, x_RD: F32, attended_RD: F32) -> F32:
        """The active stream after attention, beside it LAuReL, and the MLP."""
        attended_RD = ops.add(x_RD, self.post_attention_norm(ops, attended_RD))
        beside_RD = self.laurel(ops, self.attention_norm(ops, x_RD))
        x_RD = ops.scale(ops.add(attended_RD, beside_RD), 2**-0.5)
        y_RD: F32 = ops.add(x_RD, self.post_mlp_norm(ops, self.mlp(ops, x_RD, self.mlp_norm)))
        return y_RD


class LayerEmbedding:
    """norm(up(act(gate(x)) * embedding)): what the token's embedding for this layer adds to the streams."""

    def __init__(self, spec: ModelSpec, own: Gemma3nSpec, layer: int, weights: WeightSource) -> None:
        prefix, size = f"blk.{layer}.", own.per_layer_size
        self.columns = slice(layer * size, (layer + 1) * size)
        self.activation = spec.activation
        self.scale_D: F32 | None = None
        if own.scale_corrected:
            self.scale_D = weights.vector((f"{prefix}altup_correct_scale.weight", spec.hidden_size))
        self.gate = load_linear(weights, [(f"{prefix}inp_gate", size)], spec.hidden_size)
        self.up = load_linear(weights, [(f"{prefix}proj", spec.hidden_size)], size)
        self.norm = load_norm(spec, weights, f"{prefix}post_norm")

    def __call__(self, ops: Any, x_RD: F32, per_layer_RP: F32) -> F32:
        if self.scale_D is not None:
            x_RD = ops.multiply(x_RD, self.scale_D)
        gated_RP = ops.gate_mul(self.gate(ops, x_RD), per_layer_RP[:, self.columns], self.activation)
        return self.norm(ops, self.up(ops, gated_RP))


def load_altup(spec: ModelSpec, own: Gemma3nSpec, layer: int, weights: WeightSource) -> AltUp:
    """The router reads normed rows divided by their length, a factor that goes into the norm's weight."""
    prefix, count = f"blk.{layer}.altup_", own.num_streams
    norm_D = weights.vector((f"{prefix}router_norm.weight", spec.hidden_size)) * spec.hidden_size**-1.0
    return AltUp(
        active=own.active_stream,
        router=load_linear(weights, [(f"{prefix}router", count)], spec.hidden_size),
        router_norm=RMSNorm(norm_D, spec.norm_eps),
        prediction=load_linear(weights, [(f"{prefix}predict_coef", count * count)], count),
        correction=load_linear(weights, [(f"{prefix}correct_coef", count)], count),
    )


def load_laurel(spec: ModelSpec, own: Gemma3nSpec, layer: int, weights: WeightSource) -> Laurel:
    prefix, rank = f"blk.{layer}.laurel_", own.laurel_rank
    return Laurel(
        left=load_linear(weights, [(f"{prefix}l", rank)], spec.hidden_size),
        right=load_linear(weights, [(f"{prefix}r", spec.hidden_size)], rank),
        norm=load_norm(spec, weights, f"{prefix}post_norm"),
    )


def load_sparse_mlp(
    spec: ModelSpec, own: Gemma3nSpec, layer: int, weights: WeightSource
) -> GatedMLP | SparseMLP:
    """Sparse where the spec says so."""
    mlp, share = load_mlp(spec, layer, weights), own.sparsity[layer]
    if not share:
        return mlp
    return SparseMLP(mlp.gate_up, mlp.down, mlp.activation, NormalDist().inv_cdf(share))
