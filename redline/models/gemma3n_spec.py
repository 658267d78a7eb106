"""What only Gemma 3n has: several residual streams, a residual of low rank, an embedding for each layer."""

from __future__ import annotations

from dataclasses import dataclass

from redline.errors import UnsupportedModel

MAX_STREAMS = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Gemma3nSpec:
    """Sizes beyond those of any decoder. Raises UnsupportedModel when they cannot be."""

    num_streams: int  # of AltUp
    active_stream: int
    scale_corrected: bool  # a trained factor per dimension on the way to the layer's embedding
    laurel_rank: int
    per_layer_vocab: int  # ids that have an embedding for each layer; others use that of id 0
    per_layer_size: int
    sparsity: tuple[float, ...]  # for each layer, the share of its gates that are closed; 0: none

    def __post_init__(self) -> None:
        if not 2 <= self.num_streams <= MAX_STREAMS or not 0 <= self.active_stream < self.num_streams:
            raise UnsupportedModel(
                f"{self.num_streams} AltUp inputs with number {self.active_stream} active; 2 to "
                f"{MAX_STREAMS} are supported, and the active one must be among them"
            )
        if not all(0 <= share < 1 for share in self.sparsity):
            raise UnsupportedModel(
                f"activation sparsity is {self.sparsity}; each must be at least 0 and below 1"
            )

    def num_parameters(self, hidden_size: int, num_layers: int) -> int:
        """Trained values that other decoders do not have."""
        streams, size = self.num_streams, num_layers * self.per_layer_size
        altup = streams**2 + streams**3 + hidden_size * (streams + 2)
        laurel = hidden_size * (2 * self.laurel_rank + 1)
        per_layer = hidden_size * (2 * self.per_layer_size + 1)
        outside = (self.per_layer_vocab + hidden_size) * size + self.per_layer_size
        return (
            num_layers * (altup + laurel + per_layer)
            + outside
            + 2 * (streams - 1) * hidden_size * hidden_size
        )
