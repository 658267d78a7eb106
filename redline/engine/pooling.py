"""MeanPool: the embedding of a prompt, its final hidden states averaged and scaled to length 1.

Models that were trained as embedders use the state of their last token; those that were trained to predict
tokens have no such habit. docs/http.md compares the two.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from redline.errors import RequestError
from redline.ops.arrays import F32


class MeanPool:
    """Takes the rows of a prompt in order, however it is cut into steps.

    They are added one after the other, so that the sum has the same bits wherever the cuts are.
    """

    def __init__(self) -> None:
        self.num_rows = 0
        self._sum_D: npt.NDArray[np.float64] | None = None

    def add(self, x_RD: F32) -> None:
        """Take the final hidden states of the next R tokens."""
        if self._sum_D is None:
            self._sum_D = np.zeros(x_RD.shape[1])
        for x_D in x_RD:
            self._sum_D += x_D
        self.num_rows += len(x_RD)

    def embedding(self) -> F32:
        """A float32 vector [D] of length 1. Raises RequestError when the states have no mean."""
        assert self._sum_D is not None, "nothing was added"
        length = math.sqrt(math.fsum(self._sum_D**2)) if np.isfinite(self._sum_D).all() else math.nan
        if not length > 0:
            raise RequestError(
                f"the hidden states of this prompt have a sum of length {length}; check the model file"
            )
        unit_D: F32 = (self._sum_D / length).astype(np.float32)
        return unit_D
