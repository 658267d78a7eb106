"""The meaning of penalties, on NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from redline.errors import KernelError


def penalties(
    logits_V: Any, token_ids_N: Any, counts_N: Any, repetition: float, presence: float, frequency: float
) -> None:
    if np.any(token_ids_N < 0) or np.any(token_ids_N >= len(logits_V)):
        raise KernelError(f"penalties: an id is outside the vocabulary of {len(logits_V)}")
    logits_N = logits_V[token_ids_N]
    logits_N = np.where(logits_N > 0, logits_N / repetition, logits_N * repetition)
    logits_V[token_ids_N] = logits_N - np.where(counts_N > 0, frequency * counts_N + presence, 0)
