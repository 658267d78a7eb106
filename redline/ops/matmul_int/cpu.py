"""matmul_int on NumPy arrays by csrc/cpu/matmul_int.cpp."""

from __future__ import annotations

from redline import _kernels
from redline.errors import KernelError
from redline.ops.arrays import F32, I32
from redline.ops.matmul_cpu import call_matmul
from redline.ops.packed import PackedInt
from redline.ops.recording import new_array


def matmul_int(
    x_TK: F32,
    packed: PackedInt,
    *,
    norm: tuple[F32, float] | None = None,
    bias: F32 | None = None,
    gate: str | None = None,
    addend: F32 | None = None,
    out: F32 | None = None,
) -> F32:
    return call_matmul(_kernels.matmul_int, x_TK, packed, norm, bias, gate, addend, out)


def embedding_int(ids_T: I32, packed: PackedInt) -> F32:
    y_TK = new_array((ids_T.shape[0], packed.num_inputs))
    if not _kernels.embedding_int(ids_T, packed.kernel, y_TK):
        raise KernelError(f"embedding_int: an id is outside 0..{packed.num_outputs - 1}")
    return y_TK
