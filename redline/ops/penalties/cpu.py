"""penalties on NumPy arrays by csrc/cpu/penalties.cpp."""

from __future__ import annotations

from redline import _kernels
from redline.errors import KernelError
from redline.ops.arrays import F32, I32


def penalties(
    logits_V: F32, token_ids_N: I32, counts_N: I32, repetition: float, presence: float, frequency: float
) -> None:
    if len(token_ids_N) != len(counts_N):
        raise KernelError(f"penalties: {len(token_ids_N)} token ids but {len(counts_N)} counts")
    bad = _kernels.penalties(logits_V, token_ids_N, counts_N, repetition, presence, frequency)
    if bad >= 0:
        raise KernelError(f"penalties: id {token_ids_N[bad]} is outside the vocabulary of {len(logits_V)}")
