"""The meaning of top_logprobs, on NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from redline.errors import KernelError
from redline.ops.argmax.reference import argmax


def top_logprobs(logits_RV: Any, k: int, chosen_R: Any) -> tuple[Any, Any, Any, Any]:
    rows, vocab = logits_RV.shape
    if not 0 <= k <= vocab or np.any(chosen_R < 0) or np.any(chosen_R >= vocab):
        raise KernelError(f"top_logprobs: k is {k} and the chosen ids {chosen_R}; the vocabulary has {vocab}")
    usable_R = argmax(logits_RV) >= 0
    logprobs_RV = np.full_like(logits_RV, np.nan)
    logprobs_RV[usable_R] = _log_softmax(logits_RV[usable_R])
    order_RV = np.argsort(-logits_RV, axis=-1, kind="stable").astype(np.int32)
    ids_Rk, logprobs_Rk = order_RV[:, :k].copy(), np.take_along_axis(logprobs_RV, order_RV[:, :k], -1)
    rank_R = (np.argmax(order_RV == chosen_R[:, None], -1) + 1).astype(np.int32)
    ids_Rk[~usable_R], rank_R[~usable_R] = -1, 0
    return ids_Rk, logprobs_Rk, logprobs_RV[np.arange(rows), chosen_R], rank_R


def _log_softmax(logits_RV: Any) -> Any:
    shifted_RV = logits_RV - np.max(logits_RV, -1, keepdims=True)
    return shifted_RV - np.log(np.sum(np.exp(shifted_RV), -1, keepdims=True))
