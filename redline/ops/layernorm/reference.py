"""The meaning of layernorm, for any array-API namespace."""

from __future__ import annotations

from typing import Any

from redline.ops.array_api import namespace


def layernorm(x_TD: Any, weight_D: Any, bias_D: Any | None, eps: float) -> Any:
    xp = namespace(x_TD)
    centered_TD = x_TD - xp.mean(x_TD, axis=-1, keepdims=True)
    variance_T1 = xp.mean(centered_TD * centered_TD, axis=-1, keepdims=True)
    y_TD = centered_TD / xp.sqrt(variance_T1 + eps) * weight_D
    return y_TD if bias_D is None else y_TD + bias_D
