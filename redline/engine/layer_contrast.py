"""LayerContrast: runs the first layers once more where a request contrasts them with the whole model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redline.cache.paged import PagedKV
from redline.core.plan import Plan, PlanItem
from redline.decoding.contrast import contrast
from redline.engine.prepare import prepare
from redline.errors import RequestError, UnsupportedModel
from redline.models.decoder import Decoder

SLICE_ROWS = 16  # whose logits are there at once


class LayerContrast:
    """Their keys and values are there: the pass writes those of the last token again, the same numbers."""

    def __init__(self, decoder: Decoder, kv: PagedKV) -> None:
        self._decoder = decoder
        self._kv = kv

    def check(self, layers: int | None) -> None:
        """Raises RequestError when the model has not more layers than these, or cannot leave any out."""
        if layers is None:
            return
        have = self._decoder.spec.num_layers
        if layers >= have:
            raise RequestError(
                f"dola_layer is {layers} and the model has {have} layers; it must be less", param="dola_layer"
            )
        try:
            self._decoder.only(range(layers))
        except UnsupportedModel as error:
            raise RequestError(f"dola_layer is {layers}: {error}", param="dola_layer") from None

    def apply(self, items: Sequence[PlanItem], logits_RV: Any) -> None:
        """Change the rows of those items, one row each, that ask for it."""
        asking: dict[int, list[tuple[PlanItem, int]]] = {}
        row = 0
        for item in items:
            layers = item.seq.params.dola_layer
            if layers is not None:
                assert not item.drafts, f"{item.seq} drafts"
                asking.setdefault(layers, []).append((item, row))
            row += 1 + len(item.drafts)
        for layers, found in asking.items():
            for start in range(0, len(found), SLICE_ROWS):
                self._contrast(layers, found[start : start + SLICE_ROWS], logits_RV)

    def _contrast(self, layers: int, found: Sequence[tuple[PlanItem, int]], logits_RV: Any) -> None:
        last = [PlanItem(item.seq, item.start + item.num_tokens - 1, 1, samples=True) for item, _ in found]
        batch = prepare(Plan(tuple(last)), self._kv.block_size, self._kv.num_groups)
        amateur_RV = self._decoder.only(range(layers)).forward(batch, self._kv)
        for (_, row), amateur_V in zip(found, amateur_RV, strict=True):
            contrast(logits_RV[row], amateur_V)
