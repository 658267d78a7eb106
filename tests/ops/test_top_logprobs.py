import numpy as np
import pytest

from redline.errors import KernelError
from redline.ops.top_logprobs.reference import top_logprobs as reference
from tests.ops.backends import BACKENDS, KERNELS
from tests.ops.properties import assert_row_of_a_batch_equals_the_row_alone, strided


@pytest.mark.parametrize("ops", BACKENDS)
@pytest.mark.parametrize("rows, vocab, k", [(1, 1, 1), (5, 129, 20), (3, 49152, 5), (4, 33, 33), (2, 50, 0)])
def test_equals_float64(ops, rows, vocab, k, rng):
    logits = (rng.standard_normal((rows, vocab)) * 5).astype(np.float32)
    chosen = rng.integers(0, vocab, rows).astype(np.int32)
    ids, logprobs, chosen_logprob, rank = ops.top_logprobs(strided(logits), k, chosen)
    wanted = reference(logits.astype(np.float64), k, chosen)
    np.testing.assert_array_equal(ids, wanted[0])
    np.testing.assert_allclose(logprobs, wanted[1], rtol=1e-6, atol=2e-6)
    np.testing.assert_allclose(chosen_logprob, wanted[2], rtol=1e-6, atol=2e-6)
    np.testing.assert_array_equal(rank, wanted[3])


@pytest.mark.parametrize("ops", BACKENDS)
def test_ties_go_to_the_lower_id(ops, rng):
    logits = rng.integers(0, 4, (20, 300)).astype(np.float32)
    chosen = rng.integers(0, 300, 20).astype(np.int32)
    ids, logprobs, chosen_logprob, rank = ops.top_logprobs(logits, 300, chosen)
    np.testing.assert_array_equal(ids, np.argsort(-logits, axis=-1, kind="stable"))
    np.testing.assert_array_equal(ids[np.arange(20), rank - 1], chosen)
    np.testing.assert_array_equal(logprobs[np.arange(20), rank - 1], chosen_logprob)


@pytest.mark.parametrize("ops", BACKENDS)
def test_minus_infinity_is_an_impossible_token_and_nan_spoils_the_row(ops):
    logits = np.array([[-np.inf, 0.0, 0.0], [np.nan, 0.0, 1.0], [-np.inf] * 3], np.float32)
    with np.errstate(invalid="ignore"):
        ids, logprobs, chosen_logprob, rank = ops.top_logprobs(logits, 3, np.zeros(3, np.int32))
    np.testing.assert_array_equal(ids, [[1, 2, 0], [-1] * 3, [-1] * 3])
    np.testing.assert_allclose(logprobs[0], [-np.log(2), -np.log(2), -np.inf], rtol=1e-6)
    assert np.isnan(logprobs[1:]).all() and np.isnan(chosen_logprob[1:]).all()
    np.testing.assert_array_equal(rank, [3, 0, 0])


@pytest.mark.parametrize("ops", KERNELS)
def test_row_of_a_batch_equals_the_row_alone(ops, rng):
    logits = rng.standard_normal((64, 1001)).astype(np.float32)
    chosen = rng.integers(0, 1001, 64).astype(np.int32)
    assert_row_of_a_batch_equals_the_row_alone(
        lambda logits, chosen: ops.top_logprobs(logits, 7, chosen), logits, chosen
    )


@pytest.mark.parametrize("ops", BACKENDS)
@pytest.mark.parametrize("k, chosen", [(-1, 0), (10, 0), (1, 9), (1, -1)])
def test_refuses_what_is_outside_the_vocabulary(ops, k, chosen):
    with pytest.raises(KernelError, match="vocabulary|between"):
        ops.top_logprobs(np.zeros((1, 9), np.float32), k, np.array([chosen], np.int32))
