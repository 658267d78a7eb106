"""Weight: how one matrix [O outputs, K inputs] is stored, multiplied and looked up."""

from __future__ import annotations

from typing import Any, Protocol, Self, Unpack

from redline.errors import ModelFileError
from redline.ops.fused import Fused


class Weight(Protocol):
    """A stored matrix. `ops` is a backend (redline/ops/registry.py); arrays are float32 in and out.

    `nbytes` is what the stored matrix takes in memory, padding included. Instances never change.
    """

    format: str
    num_outputs: int
    num_inputs: int

    @property
    def nbytes(self) -> int: ...

    def matmul(self, ops: Any, x_TK: Any, **fused: Unpack[Fused]) -> Any:
        """x_TK @ weight.T -> y_TO, with what redline/ops/fused.py names before and after it."""

    def with_precise_activations(self) -> Self:
        """The same matrix; what it is multiplied with is rounded as little as its kernels allow."""

    def embedding(self, ops: Any, ids_T: Any) -> Any:
        """Rows ids_T (int32) of the matrix, dequantised -> x_TK."""


def check_shape(name: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Raises ModelFileError unless an array of a checkpoint has the shape that the others imply."""
    if tuple(shape) != expected:
        raise ModelFileError(f"{name} has shape {tuple(shape)}; the codes or the group size imply {expected}")
