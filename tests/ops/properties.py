"""What every op promises, whatever it computes."""

import math

import numpy as np


def assert_row_of_a_batch_equals_the_row_alone(function, *batched):
    """function(*batched) row by row: each input has the rows first, and so has each output."""
    together = _as_tuple(function(*batched))
    for row in range(len(batched[0])):
        alone = _as_tuple(function(*(array[row : row + 1] for array in batched)))
        for got, wanted in zip(alone, together, strict=True):
            np.testing.assert_array_equal(got[0], wanted[row])


def strided(array):
    """The same values as a view whose rows are further apart than they are long."""
    row = math.prod(array.shape[1:])
    wide = np.full((len(array), row + 13), np.nan, array.dtype)
    wide[:, 5:-8] = array.reshape(len(array), row)
    view = np.lib.stride_tricks.as_strided(
        wide[:, 5:], array.shape, (wide.strides[0], *np.ascontiguousarray(array).strides[1:])
    )
    np.testing.assert_array_equal(view, array)
    return view


def _as_tuple(outputs):
    return outputs if isinstance(outputs, tuple) else (outputs,)
