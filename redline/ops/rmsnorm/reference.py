"""The meaning of rmsnorm, for any array-API namespace."""

from __future__ import annotations

from typing import Any

from redline.ops.array_api import namespace


def rmsnorm(x_TD: Any, weight_D: Any, eps: float) -> Any:
    xp = namespace(x_TD)
    mean_square_T1 = xp.mean(x_TD * x_TD, axis=-1, keepdims=True)
    return x_TD / xp.sqrt(mean_square_T1 + eps) * weight_D
