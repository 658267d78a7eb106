import numpy as np
import pytest

from redline.errors import ModelFileError
from redline.quant.float import FloatWeight
from redline.quant.int4 import Int4Weight
from redline.quant.int8 import Int8Weight

SCALES = np.full((8, 2), 0.5, np.float32)


def test_scales_are_halves_only_where_nothing_is_lost():
    codes = np.zeros((8, 64), np.uint8)
    assert Int4Weight.pack(codes, SCALES).packed.scales.dtype == np.float16
    assert Int4Weight.pack(codes, SCALES + 1e-6).packed.scales.dtype == np.float32
    assert Int8Weight.pack(codes, SCALES, SCALES + 1e-6).packed.scales.dtype == np.float32
    assert Int8Weight.pack(codes, SCALES * 1e6, SCALES).packed.scales.dtype == np.float32


def test_nbytes_counts_padding():
    weight = Int8Weight.pack(np.zeros((17, 33), np.int8), np.ones((17, 2), np.float32))
    assert weight.nbytes == 32 * 64 + 32 * 2 * 2
    assert FloatWeight.pack(np.zeros((17, 33), np.float16)).nbytes == 32 * 33 * 2


@pytest.mark.parametrize(
    "cls, codes, scales, mins, group, message",
    [
        (Int4Weight, np.full((8, 64), 16, np.uint8), SCALES, None, 32, "between 0 and 15"),
        (Int4Weight, np.zeros((8, 64), np.int8), SCALES, None, 32, "must be uint8"),
        (Int8Weight, np.zeros((8, 64), np.int16), SCALES, None, 32, "int8 or uint8"),
        (Int8Weight, np.zeros((8, 64), np.int8), SCALES, None, 64, r"imply \(8, 1\)"),
        (Int8Weight, np.zeros((8, 64), np.int8), SCALES, SCALES[:, :1], 32, r"mins has shape \(8, 1\)"),
        (Int8Weight, np.zeros((8, 64), np.int8), SCALES, None, 48, "group size is 48"),
        (Int8Weight, np.zeros((8, 64), np.int8), SCALES, SCALES, 16, "group size is 16"),
        (Int4Weight, np.zeros((8, 64), np.uint8), SCALES, None, 0, "group size is 0"),
    ],
)
def test_arrays_that_do_not_agree_are_refused(cls, codes, scales, mins, group, message):
    with pytest.raises(ModelFileError, match=message):
        cls.pack(codes, scales, mins, group)


def test_float_arrays_of_another_kind_are_refused():
    with pytest.raises(ModelFileError, match="float64"):
        FloatWeight.pack(np.zeros((2, 3)))
    with pytest.raises(ModelFileError, match="cannot stack"):
        FloatWeight.pack_parts([np.zeros((2, 3), np.float32), np.zeros((2, 4), np.float32)])
