import numpy as np
import pytest

from redline.decoding.structured.bitmask import rule_out


@pytest.mark.parametrize("size", [1, 31, 32, 33, 270, 49_152])
def test_what_has_no_bit_is_ruled_out_and_nothing_else_changes(rng, size):
    logits_V = rng.standard_normal(size).astype(np.float32)
    bits_V = rng.random(size) < 0.3
    packed = np.packbits(np.concatenate([bits_V, np.ones(-size % 32, bool)]), bitorder="little")
    expected_V = np.where(bits_V, logits_V, -np.inf).astype(np.float32)
    rule_out(logits_V, packed.view(np.int32))
    np.testing.assert_array_equal(logits_V, expected_V)


def test_a_row_that_is_not_a_number_stays_one():
    logits_V = np.array([1, np.nan, 2, np.nan], np.float32)
    rule_out(logits_V, np.array([0b0011], np.int32))
    np.testing.assert_array_equal(logits_V, [1, np.nan, -np.inf, np.nan])
