"""K/V caches of every format, filled with ordinary numbers."""

import ml_dtypes
import numpy as np

from redline.ops.kv_store.layout import DTYPES, GROUP, cache_shapes, row_bytes

NUMPY = {name: np.dtype(getattr(ml_dtypes, dtype, None) or dtype) for name, dtype in DTYPES.items()}
SCALED = ("int8", "fp8", "int4")


def random_caches(rng, kv_format, num_blocks, heads, block_size, dim):
    """Keys and values, about as large as standard normal ones."""
    shapes = cache_shapes(kv_format, num_blocks, heads, block_size, dim)
    if kv_format not in SCALED:
        return [rng.standard_normal(shape).astype(NUMPY[kv_format]) for shape in shapes]
    caches = [_random_codes(rng, kv_format, shape) for shape in shapes]
    low, high = (0.05, 0.2) if kv_format == "int4" else (0.005, 0.02)
    for cache in caches:
        groups = dim // GROUP if kv_format == "int4" else 1
        put_scales(cache, kv_format, dim, rng.uniform(low, high, (num_blocks, heads, groups * block_size)))
    return caches


def _random_codes(rng, kv_format, shape):
    if kv_format == "int8":
        return rng.integers(-127, 128, shape, np.int8)
    if kv_format == "int4":
        return rng.integers(0, 256, shape, np.uint8)
    return rng.uniform(-60, 60, shape).astype(NUMPY["fp8"])  # kv_store writes no NaN


def put_scales(cache, kv_format, dim, scales):
    """Write [blocks, H, groups * block_size] scales."""
    as_bytes = scales.astype(np.float16 if kv_format == "int4" else np.float32).view(np.uint8)
    cache.view(np.uint8)[..., cache.shape[-1] - as_bytes.shape[-1] :] = as_bytes


def spoil_scale(cache, kv_format, block, offset, dim):
    """Make the scale of one token (of int4 its first group) NaN, in all heads."""
    block_size = cache.shape[-1] // row_bytes(kv_format, dim)
    size = 2 if kv_format == "int4" else 4
    first = block_size * (dim // 2 if kv_format == "int4" else dim) + offset * size
    nan = np.array([np.nan], np.float16 if kv_format == "int4" else np.float32).view(np.uint8)
    cache.view(np.uint8)[block, :, first : first + size] = nan
