import numpy as np
import pytest

from tests.ops.backends import BACKENDS
from tests.ops.properties import assert_row_of_a_batch_equals_the_row_alone, strided


@pytest.mark.parametrize("ops", BACKENDS)
@pytest.mark.parametrize("rows, vocab", [(1, 1), (3, 129), (64, 1000), (2, 49152), (0, 5)])
def test_equals_numpy(ops, rows, vocab, rng):
    logits = rng.standard_normal((rows, vocab)).astype(np.float32)
    got = ops.argmax(logits)
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got, np.argmax(logits, -1))
    np.testing.assert_array_equal(ops.argmax(strided(logits)), got)
    assert_row_of_a_batch_equals_the_row_alone(ops.argmax, logits)


@pytest.mark.parametrize("ops", BACKENDS)
@pytest.mark.parametrize("vocab", [7, 8, 100])
def test_lowest_id_wins_a_tie_at_every_place(ops, vocab):
    for first in range(vocab):
        logits = np.full((1, vocab), -1.0, np.float32)
        logits[0, first:] = 2.0
        assert ops.argmax(logits)[0] == first


@pytest.mark.parametrize("ops", BACKENDS)
def test_a_row_without_an_answer_is_minus_one(ops, rng):
    logits = rng.standard_normal((5, 37)).astype(np.float32)
    logits[0, 36] = np.nan
    logits[1, 3] = np.nan
    logits[2] = -np.inf
    logits[3], logits[3, 11] = -np.inf, -3.4e38
    logits[4, 9] = np.inf
    np.testing.assert_array_equal(ops.argmax(logits), [-1, -1, -1, 11, 9])
