"""What a decoder-only transformer looks like, without any of its arrays.

Values that differ between families live here; differences in data flow get a block class in the family's
file.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import Literal

from redline.errors import UnsupportedModel
from redline.models.gemma3n_spec import Gemma3nSpec

RopeKind = Literal["default", "linear", "dynamic", "yarn", "llama3"]
Activation = Literal["silu", "gelu", "gelu_tanh"]

MAX_LAYERS = 1024
MAX_SIZE = 2**24  # of any one dimension: beyond every published model, below every overflow
MAX_THETA = 1e18  # of a rotary embedding; published ones end at 1e9


@dataclass(frozen=True, kw_only=True, slots=True)
class RopeSpec:
    """One rotary position embedding (Su et al., 2021) and how its frequencies are scaled."""

    rotary_dim: int  # leading elements of a head that are rotated
    theta: float = 10_000.0
    interleaved: bool = False  # pairs (2i, 2i+1) instead of (i, i + rotary_dim/2)
    kind: RopeKind = "default"
    factor: float = 1.0  # by how much the context was extended
    original_context: int = 0  # positions before the extension (dynamic, yarn, llama3)
    low_freq_factor: float = 1.0  # llama3
    high_freq_factor: float = 4.0  # llama3
    beta_fast: float = 32.0  # yarn
    beta_slow: float = 1.0  # yarn
    truncate: bool = True  # yarn: round the ends of the ramp to whole dimensions
    attention_factor: float = 1.0  # multiplies cos and sin
    frequency_divisors: tuple[float, ...] | None = None  # one per rotated pair, as GGUF's rope_freqs

    def __post_init__(self) -> None:
        if self.rotary_dim < 2 or self.rotary_dim % 2:
            raise UnsupportedModel(f"rotary dimension is {self.rotary_dim}; it must be even and at least 2")
        if not 1 < self.theta <= MAX_THETA or not 0 < self.factor <= MAX_SIZE:
            raise UnsupportedModel(
                f"rope theta is {self.theta}, factor {self.factor}; theta must be above 1 and at most "
                f"{MAX_THETA:.0e}, factor above 0 and at most {MAX_SIZE}"
            )
        if self.kind in ("dynamic", "yarn", "llama3") and self.original_context < 1:
            raise UnsupportedModel(f"rope type {self.kind!r} needs the original context length")
        if self.kind == "llama3" and not self.high_freq_factor > self.low_freq_factor > 0:
            raise UnsupportedModel(
                f"rope high_freq_factor {self.high_freq_factor} must exceed low_freq_factor "
                f"{self.low_freq_factor}, which must be positive"
            )
        if self.kind == "yarn" and not (self.beta_fast > 0 and self.beta_slow > 0):
            raise UnsupportedModel(
                f"rope beta_fast is {self.beta_fast}, beta_slow {self.beta_slow}; both must be positive"
            )
        divisors = self.frequency_divisors
        if divisors is not None and len(divisors) != self.rotary_dim // 2:
            raise UnsupportedModel(
                f"{len(divisors)} rope frequency divisors for {self.rotary_dim // 2} rotated pairs"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerSpec:
    """What may differ from layer to layer."""

    rope: RopeSpec
    window: int = 0  # tokens a query sees, itself included; 0: all
    kv_owner: int | None = None  # the earlier layer whose keys and values this one attends to; None: its own


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSpec:
    """The shape of a model. Raises UnsupportedModel when its numbers contradict each other."""

    architecture: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    layers: tuple[LayerSpec, ...]
    max_context: int  # tokens the model was trained for
    norm_eps: float
    attention_scale: float
    activation: Activation = "silu"
    tied_embeddings: bool = False
    qkv_bias: bool = False
    attention_output_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False  # RMSNorm of every query and key head
    post_norms: bool = False  # RMSNorm of each sublayer's output, before it joins the residual
    attention_soft_cap: float = 0.0  # 0: off
    final_soft_cap: float = 0.0  # 0: off
    v_norm: bool = False  # RMSNorm of every value head, without a weight
    embedding_scale: float = 1.0
    gemma3n: Gemma3nSpec | None = None

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "hidden_size", "intermediate_size", "num_heads", "num_kv_heads", "head_dim")
        for name in sizes:
            if not 1 <= getattr(self, name) <= MAX_SIZE:
                raise UnsupportedModel(f"{name} is {getattr(self, name)}; it must be in 1..{MAX_SIZE}")
        check_num_layers(len(self.layers))
        if self.num_heads % self.num_kv_heads:
            raise UnsupportedModel(
                f"{self.num_heads} query heads cannot share {self.num_kv_heads} key/value heads evenly"
            )
        if not 0 < self.norm_eps < 1:
            raise UnsupportedModel(f"norm epsilon is {self.norm_eps}; it must be between 0 and 1")
        for layer in self.layers:
            if layer.rope.rotary_dim > self.head_dim:
                raise UnsupportedModel(
                    f"rotary dimension {layer.rope.rotary_dim} exceeds the head dimension {self.head_dim}"
                )
        for index in range(self.num_layers):
            self._check_owner(index)

    def _check_owner(self, index: int) -> None:
        """Keys are stored turned by their owner's rope, and an owner may drop what left its window."""
        layer = self.layers[index]
        if layer.kv_owner is None:
            return
        if not 0 <= layer.kv_owner < index:
            raise UnsupportedModel(
                f"layer {index} reads the K/V cache of layer {layer.kv_owner}; it must be an earlier layer"
            )
        owner = self.layers[layer.kv_owner]
        if owner.kv_owner is not None:
            raise UnsupportedModel(
                f"layer {index} reads the K/V cache of layer {layer.kv_owner}, which has none: it reads that "
                f"of layer {owner.kv_owner}; name that one"
            )
        if (layer.rope, layer.window) != (owner.rope, owner.window):
            raise UnsupportedModel(
                f"layer {index} reads the K/V cache of layer {layer.kv_owner}, but its rope or its window "
                f"({layer.window} and {owner.window} tokens) is another; both must be the same"
            )

    @property
    def num_layers(self) -> int:
        return len(self.layers)

    @property
    def ropes(self) -> tuple[RopeSpec, ...]:
        """The distinct rotary embeddings, in order of first use."""
        return tuple(dict.fromkeys(layer.rope for layer in self.layers))

    @property
    def windows(self) -> tuple[int, ...]:
        """The distinct windows of the layers, those that see everything (0) first, then the widest.

        Layers of one window are a group: they share block tables and a pool of cache blocks.
        """
        return tuple(sorted({layer.window for layer in self.layers}, key=lambda each: (each > 0, -each)))

    @property
    def group_of_layer(self) -> tuple[int, ...]:
        """For each layer, which of `windows` it has."""
        return tuple(self.windows.index(layer.window) for layer in self.layers)

    @property
    def query_size(self) -> int:
        """Rows of the query projection."""
        return self.num_heads * self.head_dim

    @property
    def qkv_size(self) -> int:
        """Rows of the merged query, key and value projection."""
        return (self.num_heads + 2 * self.num_kv_heads) * self.head_dim

    @property
    def kv_owners(self) -> tuple[int, ...]:
        """For each layer, the layer whose K/V cache it reads: itself, unless it shares one."""
        return tuple(
            index if layer.kv_owner is None else layer.kv_owner for index, layer in enumerate(self.layers)
        )

    @property
    def kv_layers_of_group(self) -> tuple[int, ...]:
        """For each of `windows`, how many layers store keys and values."""
        stored = [self.group_of_layer[owner] for owner in set(self.kv_owners)]
        return tuple(stored.count(group) for group in range(len(self.windows)))

    @property
    def num_kv_layers(self) -> int:
        """Layers that store keys and values."""
        return len(set(self.kv_owners))

    def kv_bytes_per_token(self, bytes_per_value: int) -> int:
        """Bytes one token takes in the K/V cache of all layers that have one."""
        return 2 * self.num_kv_layers * self.num_kv_heads * self.head_dim * bytes_per_value

    @property
    def num_parameters(self) -> int:
        """Trained values, a tied embedding counted once."""
        embeddings = self.vocab_size * self.hidden_size * (1 if self.tied_embeddings else 2)
        layers = sum(self.num_layer_parameters(layer) for layer in self.layers)
        own = self.gemma3n.num_parameters(self.hidden_size, self.num_layers) if self.gemma3n else 0
        return embeddings + self.hidden_size + layers + own

    def num_layer_parameters(self, layer: LayerSpec) -> int:
        """Trained values of one layer. One that shares a K/V cache has no projections to keys and values."""
        attention_size = self.query_size
        projected = self.qkv_size if layer.kv_owner is None else attention_size
        matrices = self.hidden_size * (projected + attention_size + 3 * self.intermediate_size)
        biases = (
            self.qkv_bias * projected
            + self.attention_output_bias * self.hidden_size
            + self.mlp_bias * (2 * self.intermediate_size + self.hidden_size)
        )
        head_norms = self.qk_norm * (2 if layer.kv_owner is None else 1) * self.head_dim
        return matrices + biases + self.hidden_size * (4 if self.post_norms else 2) + head_norms


def check_num_layers(num_layers: int) -> int:
    """`num_layers`, if a model can have so many. Call it before building one LayerSpec for each."""
    if not 1 <= num_layers <= MAX_LAYERS:
        raise UnsupportedModel(f"the model has {num_layers} layers; 1 to {MAX_LAYERS} are supported")
    return num_layers


def yarn_attention_factor(factor: float, mscale: float = 1.0, mscale_all_dim: float = 0.0) -> float:
    """YaRN's magnitude of cos and sin (Peng et al., 2023, section 3.4), with DeepSeek's two scales."""

    def magnitude(scale: float) -> float:
        return 0.1 * scale * log(factor) + 1.0 if factor > 1 else 1.0

    if mscale and mscale_all_dim:
        return magnitude(mscale) / magnitude(mscale_all_dim)
    return magnitude(1.0)
