import numpy as np
import pytest

from tests.ops.backends import BACKENDS


@pytest.mark.parametrize("ops", BACKENDS)
@pytest.mark.parametrize("ids", [[0, 6, 7, 8, 2**31 - 1, 3], [9], []])
def test_ids_beyond_the_limit_become_zero(ops, ids):
    ids = np.array(ids, np.int32)
    known = ops.known_ids(ids, 7)
    assert known.dtype == np.int32
    np.testing.assert_array_equal(known, np.where(ids < 7, ids, 0))
