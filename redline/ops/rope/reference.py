"""The meaning of rope, for any array-API namespace."""

from __future__ import annotations

from typing import Any

from redline.errors import KernelError
from redline.ops.array_api import namespace


def rope(x_THD: Any, cos_PR: Any, sin_PR: Any, positions_T: Any, interleaved: bool) -> Any:
    xp = namespace(x_THD)
    half = cos_PR.shape[1]
    if (
        positions_T.shape[0]
        and not 0 <= int(xp.min(positions_T)) <= int(xp.max(positions_T)) < cos_PR.shape[0]
    ):
        raise KernelError(f"rope: a position is outside the table of {cos_PR.shape[0]} positions")
    cos_T1R, sin_T1R = cos_PR[positions_T][:, None, :], sin_PR[positions_T][:, None, :]
    if interleaved:
        a_THR, b_THR = x_THD[..., 0 : 2 * half : 2], x_THD[..., 1 : 2 * half : 2]
    else:
        a_THR, b_THR = x_THD[..., :half], x_THD[..., half : 2 * half]
    rotated = [a_THR * cos_T1R - b_THR * sin_T1R, b_THR * cos_T1R + a_THR * sin_T1R]
    if interleaved:
        rotated = [xp.reshape(xp.stack(rotated, -1), (*x_THD.shape[:2], 2 * half))]
    return xp.concat([*rotated, x_THD[..., 2 * half :]], -1)
