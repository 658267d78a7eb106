"""The meaning of softcap, for any array-API namespace."""

from __future__ import annotations

from typing import Any

from redline.ops.array_api import namespace


def softcap(x_RV: Any, cap: float) -> Any:
    return cap * namespace(x_RV).tanh(x_RV / cap)
