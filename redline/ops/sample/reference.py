"""The meaning of sample, on NumPy arrays, one row at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from redline.ops.argmax.reference import argmax


def sample(
    logits_RV: Any, temperature_R: Any, top_k_R: Any, top_p_R: Any, min_p_R: Any, uniform_R: Any
) -> Any:
    ids_R = argmax(logits_RV)
    for row in range(logits_RV.shape[0]):
        if ids_R[row] >= 0 and temperature_R[row] > 0 and np.max(logits_RV[row]) < np.inf:
            p_V = probabilities(logits_RV[row], temperature_R[row], top_k_R[row], top_p_R[row], min_p_R[row])
            ids_R[row] = _draw(p_V, uniform_R[row])
    return ids_R


def probabilities(logits_V: Any, temperature: float, top_k: int, top_p: float, min_p: float) -> Any:
    """The distribution that sample draws from."""
    p_V = np.exp((logits_V - np.max(logits_V)) / temperature)
    order_V = np.argsort(-p_V, kind="stable")
    if top_k:
        p_V[order_V[top_k:]] = 0
    p_V = p_V / np.sum(p_V)
    if top_p < 1:
        before_V = np.cumsum(p_V[order_V]) - p_V[order_V]
        beyond_V = before_V >= top_p
        beyond_V[0] = False
        p_V[order_V[beyond_V]] = 0
    p_V[p_V < min_p * np.max(p_V)] = 0
    return p_V / np.sum(p_V)


def _draw(p_V: Any, uniform: float) -> int:
    passed_N = np.nonzero(np.cumsum(p_V) > uniform * np.sum(p_V))[0]
    return int(passed_N[0] if len(passed_N) else np.nonzero(p_V)[0][-1])
