"""The meaning of gaussian_topk, for any array-API namespace."""

from __future__ import annotations

from typing import Any

from redline.ops.array_api import namespace


def gaussian_topk(x_TF: Any, deviations: float) -> Any:
    xp = namespace(x_TF)
    mean_T1 = xp.mean(x_TF, axis=-1, keepdims=True)
    variance_T1 = xp.mean((x_TF - mean_T1) ** 2, axis=-1, keepdims=True)
    return xp.clip(x_TF - (mean_T1 + xp.sqrt(variance_T1) * deviations), 0.0, None)
