"""matmul_float on NumPy arrays by csrc/cpu/matmul_float.cpp."""

from __future__ import annotations

import numpy as np

from redline import _kernels
from redline.errors import KernelError
from redline.ops.arrays import F32, I32
from redline.ops.packed import PackedFloat


def matmul_float(x_TK: F32, packed: PackedFloat) -> F32:
    y_TO = np.empty((x_TK.shape[0], packed.num_outputs), np.float32)
    try:
        _kernels.matmul_float(x_TK, packed.kernel, y_TO)
    except (TypeError, ValueError) as error:
        raise KernelError(
            f"matmul_float: x is {x_TK.dtype} {x_TK.shape} with strides {x_TK.strides}; it must be float32 "
            f"[rows, {packed.num_inputs}] with dense rows"
        ) from error
    return y_TO


def embedding_float(ids_T: I32, packed: PackedFloat) -> F32:
    y_TK = np.empty((ids_T.shape[0], packed.num_inputs), np.float32)
    if not _kernels.embedding_float(ids_T, packed.kernel, y_TK):
        raise KernelError(f"embedding_float: an id is outside 0..{packed.num_outputs - 1}")
    return y_TK
