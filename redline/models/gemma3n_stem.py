"""What Gemma 3n does before its layers and after them: streams, and an embedding for each layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redline.layers.batch import take_rows
from redline.models.decoder import load_linear, load_norm
from redline.models.spec import ModelSpec
from redline.models.weights import WeightSource
from redline.ops.arrays import F32, I32

LEAST_MEAN_SQUARE = 1e-5  # of a stream, when it is brought to the magnitude of the first


@dataclass(frozen=True, slots=True)
class Streams:
    """What travels between the layers: the streams of AltUp, and what each layer will be handed besides."""

    streams_TD: Sequence[F32]
    per_layer_TP: F32  # [T, layers * per_layer_size]

    def rows(self, rows_R: I32 | None) -> Streams:
        """Those rows alone; None: all of them."""
        streams = [take_rows(stream_TD, rows_R) for stream_TD in self.streams_TD]
        return Streams(streams, take_rows(self.per_layer_TP, rows_R))


class Gemma3nStem:
    """Spreads embeddings over the streams, looks up those of each layer, gathers the streams at the end."""

    def __init__(self, spec: ModelSpec, weights: WeightSource) -> None:
        assert spec.gemma3n is not None, spec.architecture
        own, hidden_size = spec.gemma3n, spec.hidden_size
        self.own = own
        size = spec.num_layers * own.per_layer_size
        self.per_layer_embedding = weights.matrix(
            [("per_layer_token_embd.weight", own.per_layer_vocab)], size
        )
        self.per_layer_projection = load_linear(weights, [("per_layer_model_proj", size)], hidden_size)
        self.per_layer_norm = load_norm(spec, weights, "per_layer_proj_norm", own.per_layer_size)
        self.embedding_scale = own.per_layer_size**0.5
        self.projection_scale = hidden_size**-0.5
        others = range(own.num_streams - 1)
        self.spread, self.gather = (
            [load_linear(weights, [(f"{name}.{n}", hidden_size)], hidden_size) for n in others]
            for name in ("altup_proj", "altup_unembd_proj")
        )

    def enter(self, ops: Any, x_TD: F32, token_ids_T: I32) -> Streams:
        streams_TD = [x_TD]
        for spread in self.spread:
            streams_TD.append(ops.match_magnitude(spread(ops, x_TD), x_TD, LEAST_MEAN_SQUARE))
        return Streams(streams_TD, self._per_layer(ops, x_TD, token_ids_T))

    def leave(self, ops: Any, streams: Streams) -> F32:
        """The mean of the streams, all with the magnitude of the first."""
        first_RD, *others_RD = streams.streams_TD
        sum_RD = first_RD
        for gather, stream_RD in zip(self.gather, others_RD, strict=True):
            y_RD = ops.match_magnitude(gather(ops, stream_RD), first_RD, LEAST_MEAN_SQUARE)
            sum_RD = ops.add(sum_RD, y_RD)
        mean_RD: F32 = ops.scale(sum_RD, 1 / self.own.num_streams)
        return mean_RD

    def _per_layer(self, ops: Any, x_TD: F32, token_ids_T: I32) -> F32:
        """The mean, but for a factor, of what the token and its embedding say to each layer."""
        known_T = ops.known_ids(token_ids_T, self.own.per_layer_vocab)
        looked_up_TP = ops.scale(self.per_layer_embedding.embedding(ops, known_T), self.embedding_scale)
        projected_TP = ops.scale(self.per_layer_projection(ops, x_TD), self.projection_scale)
        shape = len(x_TD), -1, self.own.per_layer_size
        normed_TP = self.per_layer_norm(ops, projected_TP.reshape(shape)).reshape(projected_TP.shape)
        y_TP: F32 = ops.scale(ops.add(normed_TP, looked_up_TP), 2**-0.5)
        return y_TP
