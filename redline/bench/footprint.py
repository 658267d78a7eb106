"""What a forward step of a model must read and multiply, whatever kernel does it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from redline.engine.opened import OpenedModel
from redline.models.decoder import Decoder
from redline.models.spec import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Bytes and multiply-adds of a model as it is loaded."""

    layer_bytes: int  # packed weights of all layers, read once per step
    output_bytes: int  # of the matrix that makes logits
    layer_macs: int  # multiply-adds with weights, per token
    output_macs: int  # per row of logits
    kv_bytes: int  # one token's keys and values, as often as layers read them
    attention_macs: int  # per token and token of its context, in all layers

    def step_bytes(self, context_tokens: int) -> int:
        """Bytes that one step must read: every weight once, and the K/V of `context_tokens` altogether."""
        return self.layer_bytes + self.output_bytes + context_tokens * self.kv_bytes

    def step_macs(self, tokens: int, logit_rows: int, attended: int) -> int:
        """Multiply-adds of one step; `attended` is the sum of the contexts of its tokens."""
        return tokens * self.layer_macs + logit_rows * self.output_macs + attended * self.attention_macs


def footprint(llm: OpenedModel) -> dict[str, int]:
    """The footprint of an opened model, as a dictionary that travels through a pipe."""
    engine = llm._engine
    spec = engine.model.spec
    # A layer that shares a cache reads it again.
    kv_bytes = engine._kv.token_bytes * spec.num_layers // spec.num_kv_layers
    return asdict(model_footprint(engine.model.decoder, kv_bytes))


def model_footprint(decoder: Decoder, kv_bytes: int) -> Footprint:
    """`kv_bytes`: what all layers read of the cache for one token of the context."""
    spec: ModelSpec = decoder.spec
    layers = list(weights_in(decoder.blocks))
    return Footprint(
        layer_bytes=sum(weight.nbytes for weight in layers),
        output_bytes=decoder.output.nbytes,
        layer_macs=sum(weight.num_outputs * weight.num_inputs for weight in layers),
        output_macs=decoder.output.num_outputs * decoder.output.num_inputs,
        kv_bytes=kv_bytes,
        attention_macs=2 * spec.num_layers * spec.num_heads * spec.head_dim,
    )


def weights_in(part: Any) -> Iterator[Any]:
    """Every stored matrix (redline.quant.base.Weight) in the parts of a model, wherever a layer keeps it."""
    seen: set[int] = set()
    waiting = [part]
    while waiting:
        item = waiting.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, list | tuple):
            waiting.extend(reversed(item))
        elif hasattr(item, "matmul") and hasattr(item, "num_outputs"):
            yield item
        elif type(item).__module__.startswith("redline."):
            waiting.extend(reversed(list(_attributes(item))))


def _attributes(item: Any) -> Iterator[Any]:
    names = [*getattr(item, "__dict__", ()), *getattr(type(item), "__slots__", ())]
    return (getattr(item, name) for name in names if hasattr(item, name))
