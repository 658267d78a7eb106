"""AllowedTokens: nothing but these."""

from __future__ import annotations

import numpy as np

from redline.decoding.steps.step import TokensBefore
from redline.ops.arrays import F32


class AllowedTokens:
    """Rules out every token that is not listed (vLLM's `allowed_token_ids`)."""

    def __init__(self, token_ids: tuple[int, ...]) -> None:
        self._ids_N = np.array(token_ids, np.int64)

    def apply(self, logits_V: F32, before: TokensBefore) -> None:
        allowed_N = logits_V[self._ids_N]
        logits_V.fill(-np.inf)
        logits_V[self._ids_N] = allowed_N

    def fork(self) -> AllowedTokens:
        return self
