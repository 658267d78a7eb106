"""top_logprobs on NumPy arrays by csrc/cpu/top_logprobs.cpp."""

from __future__ import annotations

import numpy as np

from redline import _kernels
from redline.errors import KernelError
from redline.ops.arrays import F32, I32


def top_logprobs(logits_RV: F32, k: int, chosen_R: I32) -> tuple[I32, F32, F32, I32]:
    rows, vocab = logits_RV.shape
    if not 0 <= k <= vocab or len(chosen_R) != rows:
        raise KernelError(
            f"top_logprobs: k is {k} and {len(chosen_R)} ids are chosen for logits {logits_RV.shape}; "
            f"k must be between 0 and {vocab}, and one id be chosen per row"
        )
    ids_Rk, logprobs_Rk = np.empty((rows, k), np.int32), np.empty((rows, k), np.float32)
    logprob_R, rank_R = np.empty(rows, np.float32), np.empty(rows, np.int32)
    bad = _kernels.top_logprobs(logits_RV, k, chosen_R, ids_Rk, logprobs_Rk, logprob_R, rank_R)
    if bad >= 0:
        raise KernelError(f"top_logprobs: chosen id {chosen_R[bad]} is outside the vocabulary of {vocab}")
    return ids_Rk, logprobs_Rk, logprob_R, rank_R
