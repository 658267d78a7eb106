"""The meaning of argmax, for any array-API namespace."""

from __future__ import annotations

from typing import Any

from redline.ops.array_api import namespace


def argmax(logits_RV: Any) -> Any:
    xp = namespace(logits_RV)
    ids_R = xp.asarray(xp.argmax(logits_RV, -1), dtype=xp.int32)
    usable_R = xp.amax(logits_RV, -1) > float("-inf")  # false for NaN too, which a maximum passes on
    return xp.where(usable_R, ids_R, xp.full_like(ids_R, -1))
