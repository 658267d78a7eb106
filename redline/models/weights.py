"""Where a model's arrays come from, whatever the file format.

Tensors have one set of names here, those of GGUF ("blk.3.attn_q.weight"); a format with others translates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from redline.ops.arrays import F32
from redline.quant.base import Weight

Progress = Callable[[int, int], None]  # (bytes done, bytes in all)


class WeightSource(Protocol):
    """Hands out each tensor once.

    `vector` and `matrix` raise ModelFileError when the tensor is missing or has another shape,
    UnsupportedModel when its number format is not implemented.
    """

    def has(self, name: str) -> bool:
        """Whether there is such a tensor."""

    def vector(self, *parts: tuple[str, int]) -> F32:
        """The biases or norm weights (name, size), end to end, float32."""

    def matrix(self, parts: Sequence[tuple[str, int]], num_inputs: int) -> Weight:
        """The matrices (name, num_outputs), all with the same inputs, stacked into one Weight."""

    def finish(self) -> None:
        """Raise UnsupportedModel when tensors are left that nobody asked for: they would change results."""


def unread_message(path: object, names: Sequence[str]) -> str:
    """What to say about tensors that no part of the model uses."""
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return f"{path}: {len(names)} tensors are not part of this architecture as Redline knows it: {shown}"
