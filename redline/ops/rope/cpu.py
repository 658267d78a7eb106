"""rope on NumPy arrays by csrc/cpu/rope.cpp."""

from __future__ import annotations

from redline import _kernels
from redline.errors import KernelError
from redline.ops.arrays import F32, I32
from redline.ops.recording import new_array


def check_rope(x_THD: F32, cos_PR: F32, sin_PR: F32, positions_T: I32) -> None:
    shape = x_THD.shape
    if cos_PR.shape != sin_PR.shape or 2 * cos_PR.shape[1] > shape[2] or positions_T.shape[0] != shape[0]:
        raise KernelError(
            f"rope: x is {shape}, cos {cos_PR.shape}, sin {sin_PR.shape}, positions {positions_T.shape}; "
            "they must be [T, H, D], [P, R], [P, R] and [T] with 2 * R at most D"
        )


def bad_position(positions_T: I32, index: int, cos_PR: F32) -> KernelError:
    return KernelError(
        f"rope: position {positions_T[index]} is outside the table of {cos_PR.shape[0]} positions"
    )


def rope(x_THD: F32, cos_PR: F32, sin_PR: F32, positions_T: I32, interleaved: bool) -> F32:
    check_rope(x_THD, cos_PR, sin_PR, positions_T)
    y_THD = new_array(x_THD.shape)
    bad = _kernels.rope(x_THD, cos_PR, sin_PR, positions_T, interleaved, y_THD)
    if bad >= 0:
        raise bad_position(positions_T, bad, cos_PR)
    return y_THD
