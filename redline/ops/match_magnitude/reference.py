"""The meaning of match_magnitude, for any array-API namespace."""

from __future__ import annotations

from typing import Any

from redline.ops.array_api import namespace


def match_magnitude(x_TD: Any, like_TD: Any, least: float) -> Any:
    xp = namespace(x_TD)
    own_T1 = xp.clip(xp.mean(x_TD * x_TD, axis=-1, keepdims=True), least, None)
    wanted_T1 = xp.mean(like_TD * like_TD, axis=-1, keepdims=True)
    return x_TD * (xp.sqrt(wanted_T1) / xp.sqrt(own_T1))
