"""Continuations: the likeliest next tokens of many rows of logits, for searches."""

from __future__ import annotations

from collections.abc import Sequence as Many
from math import inf
from typing import Any

import numpy as np

from redline.decoding.sampler import MAX_GATHERED, NO_TOKEN, TokenLogprob


class Continuations:
    """Finds them with the ops of one backend."""

    def __init__(self, ops: Any) -> None:
        self._ops = ops

    def best(
        self, logits_RV: Any, rows: Many[int], count: int, num_top: int = 0
    ) -> list[list[TokenLogprob]] | None:
        """The `count` likeliest tokens of each row, the best first; of equal ones the lower id.

        Each comes with the `num_top` likeliest. None: one of the rows is NaN or rules out every token.
        """
        most = min(max(count, num_top), logits_RV.shape[1])
        found = []
        for start in range(0, len(rows), MAX_GATHERED):
            some = list(rows[start : start + MAX_GATHERED])
            any_R = np.zeros(len(some), np.int32)
            ids_Rk, logprobs_Rk, _, _ = self._ops.top_logprobs(logits_RV[some], most, any_R)
            if (ids_Rk == NO_TOKEN).any():
                return None
            both = zip(ids_Rk.tolist(), logprobs_Rk.tolist(), strict=True)
            found += [_tokens(ids_k, logprobs_k, count, num_top) for ids_k, logprobs_k in both]
        return found


def _tokens(ids_k: list[int], logprobs_k: list[float], count: int, num_top: int) -> list[TokenLogprob]:
    pairs = list(zip(ids_k, logprobs_k, strict=True))
    top = pairs[:num_top]
    return [
        TokenLogprob(token_id, logprob, rank, top)
        for rank, (token_id, logprob) in enumerate(pairs[:count], 1)
        if logprob > -inf
    ]
