import numpy as np
import pytest

from redline.errors import KernelError
from redline.ops.penalties.reference import penalties as reference
from tests.ops.backends import BACKENDS


@pytest.mark.parametrize("ops", BACKENDS)
@pytest.mark.parametrize("count", [0, 1, 300])
def test_equals_float64(ops, count, rng):
    logits = rng.standard_normal((3, 1000)).astype(np.float32)
    ids = rng.permutation(1000)[:count].astype(np.int32)
    counts = rng.integers(0, 4, count).astype(np.int32)
    wanted = logits.astype(np.float64)
    reference(wanted[1], ids, counts, 1.3, 0.5, -0.2)
    ops.penalties(logits[1], ids, counts, 1.3, 0.5, -0.2)
    np.testing.assert_allclose(logits, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("ops", BACKENDS)
def test_prompt_tokens_pay_for_repetition_only(ops):
    logits = np.array([2.0, -2.0, 2.0, -2.0, 5.0], np.float32)
    ops.penalties(logits, np.arange(4, dtype=np.int32), np.array([0, 0, 1, 3], np.int32), 2.0, 0.5, 0.25)
    np.testing.assert_array_equal(logits, [1.0, -4.0, 0.25, -5.25, 5.0])


@pytest.mark.parametrize("ops", BACKENDS)
@pytest.mark.parametrize("token_id", [-1, 9])
def test_refuses_an_id_outside_the_vocabulary(ops, token_id):
    logits = np.zeros(9, np.float32)
    with pytest.raises(KernelError, match="vocabulary of 9"):
        ops.penalties(logits, np.array([token_id], np.int32), np.zeros(1, np.int32), 1.0, 0.0, 0.0)
