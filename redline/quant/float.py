"""FloatWeight: a matrix in float32, float16 or bfloat16, multiplied in float32."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np

from redline import _kernels
from redline.errors import ModelFileError
from redline.ops.arrays import Array
from redline.ops.fused import Fused
from redline.ops.packed import FLOAT_FORMATS, PackedFloat, as_bytes, float_dtype

ROWS_AT_ONCE = 1024  # converted at a time, so that no second copy of a whole matrix exists


class FloatWeight:
    """Weights as they were trained; activations are not quantised."""

    def __init__(self, packed: PackedFloat) -> None:
        self.packed = packed
        self.format = packed.format
        self.num_outputs, self.num_inputs = packed.num_outputs, packed.num_inputs

    @classmethod
    def pack(cls, array_OK: Array) -> FloatWeight:
        """From float32, float16 or ml_dtypes.bfloat16. Raises ModelFileError for any other dtype or rank."""
        return cls.pack_parts([array_OK])

    @classmethod
    def pack_parts(cls, arrays_OK: list[Array], format: str | None = None) -> FloatWeight:
        """The rows of several arrays under each other, without a merged copy in between.

        `format` is what they become; None: the one dtype that all of them have.
        """
        first = arrays_OK[0]
        for array in arrays_OK:
            stacks = format is not None or array.dtype == first.dtype
            if array.ndim != 2 or not stacks or array.shape[1] != first.shape[1]:
                raise ModelFileError(
                    f"cannot stack {array.dtype} {array.shape} under {first.dtype} {first.shape}"
                )
        num_outputs = sum(len(array) for array in arrays_OK)
        packed = PackedFloat.zeros(num_outputs, first.shape[1], format or float_format(first))
        row = 0
        for array in arrays_OK:
            fill_rows(packed, array, row)
            row += len(array)
        return cls(packed)

    @property
    def nbytes(self) -> int:
        return self.packed.nbytes

    def matmul(self, ops: Any, x_TK: Any, **fused: Unpack[Fused]) -> Any:
        return ops.matmul_float(x_TK, self.packed, **fused)

    def with_precise_activations(self) -> FloatWeight:
        return self

    def embedding(self, ops: Any, ids_T: Any) -> Any:
        return ops.embedding_float(ids_T, self.packed)


def float_format(array: Array) -> str:
    """The name of an array's float dtype. Raises ModelFileError when no kernel stores it."""
    for name in FLOAT_FORMATS:
        if array.dtype == float_dtype(name):
            return name
    raise ModelFileError(f"weights are {array.dtype}; a float matrix must be {', '.join(FLOAT_FORMATS)}")


def fill_rows(packed: PackedFloat, array_OK: Array, first: int) -> None:
    """Write rows of any float dtype, from row `first` on, converted some at a time where they must be."""
    for start in range(0, len(array_OK), ROWS_AT_ONCE):
        rows = array_OK[start : start + ROWS_AT_ONCE].astype(packed.panels.dtype, copy=False)
        fill_float(packed, as_bytes(np.ascontiguousarray(rows)), first + start, len(rows))


def fill_float(packed: PackedFloat, row_bytes: Array, first: int, num_rows: int) -> None:
    """Write `num_rows` row-major rows into the packed matrix, from row `first` on."""
    size = packed.panels.dtype.itemsize
    expected = num_rows * packed.num_inputs * size
    assert row_bytes.size == expected and first + num_rows <= packed.num_outputs, (
        f"{row_bytes.size = } {expected = }"
    )
    _kernels.pack_float(row_bytes, size, num_rows, packed.num_inputs, first, as_bytes(packed.panels))
