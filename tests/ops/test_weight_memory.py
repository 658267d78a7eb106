import gc
import weakref

import numpy as np
import pytest

from redline.ops.weight_memory import CHUNK, LINE, WeightMemory


@pytest.mark.parametrize("shape", [(1,), (3, 5), (1000, 77), (CHUNK // 8, 2)])
def test_arrays_are_zeroed_aligned_and_apart(shape):
    memory = WeightMemory()
    arrays = [memory.zeros(shape, dtype) for dtype in (np.uint8, np.float16, np.float32) for _ in range(9)]
    for index, array in enumerate(arrays):
        assert array.shape == shape and array.ctypes.data % LINE == 0 and array.flags.c_contiguous
        assert not array.any()
        array[...] = index
    for index, array in enumerate(arrays):
        assert (array == index).all()


def test_a_chunk_goes_with_its_last_array():
    memory = WeightMemory()
    first, second = memory.zeros((8,), np.uint8), memory.zeros((8,), np.uint8)
    root = first
    while isinstance(root.base, np.ndarray):
        root = root.base
    chunk = weakref.ref(root)
    memory.zeros((CHUNK // 4,), np.uint8), memory.zeros((CHUNK // 4,), np.uint8)
    memory.zeros((CHUNK // 4,), np.uint8), memory.zeros((CHUNK // 4,), np.uint8)  # in the next chunk
    del root, first
    gc.collect()
    assert chunk() is not None
    del second
    gc.collect()
    assert chunk() is None
