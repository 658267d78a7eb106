"""matmul_float on NumPy arrays by csrc/cpu/matmul_float.cpp."""

from __future__ import annotations

from redline import _kernels
from redline.errors import KernelError
from redline.ops.arrays import F32, I32
from redline.ops.matmul_cpu import call_matmul
from redline.ops.packed import PackedFloat
from redline.ops.recording import new_array


def matmul_float(
    x_TK: F32,
    packed: PackedFloat,
    *,
    norm: tuple[F32, float] | None = None,
    bias: F32 | None = None,
    gate: str | None = None,
    addend: F32 | None = None,
    out: F32 | None = None,
) -> F32:
    return call_matmul(_kernels.matmul_float, x_TK, packed, norm, bias, gate, addend, out)


def embedding_float(ids_T: I32, packed: PackedFloat) -> F32:
    y_TK = new_array((ids_T.shape[0], packed.num_inputs))
    if not _kernels.embedding_float(ids_T, packed.kernel, y_TK):
        raise KernelError(f"embedding_float: an id is outside 0..{packed.num_outputs - 1}")
    return y_TK
