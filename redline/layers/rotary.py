"""Rotary position embedding: the tables of cosines and sines, and how each scaling changes them."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, floor, log, pi
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from redline.ops.arrays import F32, I32

if TYPE_CHECKING:
    from redline.models.spec import RopeSpec

F64 = npt.NDArray[np.float64]

CHUNK = 1024  # positions computed at a time, so that a value never depends on the table's length


class RotaryTable:
    """cos and sin of position * frequency, float32 [P positions, R rotated pairs], grown as needed."""

    def __init__(self, spec: RopeSpec, max_context: int) -> None:
        self.spec = spec
        self.num_moves = 0  # to other memory, so far
        self.set_max_context(max_context)

    def set_max_context(self, max_context: int) -> None:
        """Dynamic scaling depends on the longest context to be served; the other kinds ignore it."""
        self.max_context = max_context
        self.frequencies_R = frequencies(self.spec, max_context)
        pairs = self.spec.rotary_dim // 2
        self._cos_PR = self._sin_PR = np.empty((0, pairs), np.float32)

    def operands(self, positions_T: I32) -> tuple[F32, F32, I32, bool]:
        """What an op needs to rotate; the table must cover the positions already (see `cover`)."""
        return self._cos_PR, self._sin_PR, positions_T, self.spec.interleaved

    def cover(self, num_positions: int) -> None:
        """Make the table hold positions 0..num_positions-1, at least. `num_moves` tells whether it moved."""
        have = len(self._cos_PR)
        if num_positions <= have:
            return
        wanted = max(num_positions, min(2 * have, self.max_context))
        factor = self.spec.attention_factor
        cos_PR, sin_PR = (_grown(table_PR, wanted) for table_PR in (self._cos_PR, self._sin_PR))
        for start in range(have, wanted, CHUNK):  # some at a time: in float64 they take four times the memory
            angles_PR = self._angles(start)
            cos_PR[start : start + CHUNK] = _scaled(np.cos(angles_PR), factor)
            sin_PR[start : start + CHUNK] = _scaled(np.sin(angles_PR), factor)
        self._cos_PR, self._sin_PR = cos_PR, sin_PR
        self.num_moves += 1

    def _angles(self, start: int) -> F64:
        """float32 products, as models are trained with: at long positions their rounding is visible."""
        positions_P = np.arange(start, start + CHUNK, dtype=np.float32)
        return (positions_P[:, None] * self.frequencies_R).astype(np.float64)


def table_bytes(spec: RopeSpec, num_positions: int) -> int:
    """Bytes of a table that reaches so far."""
    return 2 * 4 * -(-num_positions // CHUNK) * CHUNK * (spec.rotary_dim // 2)


def _grown(table_PR: F32, num_positions: int) -> F32:
    """The table with room for so many positions, in whole chunks."""
    grown_PR = np.empty((-(-num_positions // CHUNK) * CHUNK, table_PR.shape[1]), np.float32)
    grown_PR[: len(table_PR)] = table_PR
    return grown_PR


def _scaled(values: F64, factor: float) -> F32:
    return (values * factor).astype(np.float32)


def frequencies(spec: RopeSpec, max_context: int) -> F32:
    """Radians per position of each rotated pair, float32 [R]."""
    scaled = _KINDS[spec.kind](spec, max_context)
    if spec.frequency_divisors is not None:
        scaled = scaled / np.array(spec.frequency_divisors)
    return scaled.astype(np.float32)


def _base(spec: RopeSpec, theta: float) -> F64:
    exponents_R = np.arange(0, spec.rotary_dim, 2, dtype=np.float64) / spec.rotary_dim
    base_R: F64 = 1.0 / theta**exponents_R
    return base_R


def _default(spec: RopeSpec, max_context: int) -> F64:
    return _base(spec, spec.theta)


def _linear(spec: RopeSpec, max_context: int) -> F64:
    """Position interpolation (Chen et al., 2023)."""
    return _base(spec, spec.theta) / spec.factor


def _dynamic(spec: RopeSpec, max_context: int) -> F64:
    """NTK-aware scaling of theta to a context longer than the original; none up to that length.

    The published rule follows the running length, which would rewrite cached keys; like other servers this
    one scales once, to the longest context it will serve.
    """
    length = max(max_context, spec.original_context)
    stretch = spec.factor * length / spec.original_context - (spec.factor - 1)
    dim = spec.rotary_dim
    return _base(spec, spec.theta * stretch ** (dim / (dim - 2))) if dim > 2 else _base(spec, spec.theta)


def _yarn(spec: RopeSpec, max_context: int) -> F64:
    """YaRN (Peng et al., 2023): fast pairs stay, slow ones are interpolated, a ramp between."""
    base_R = _base(spec, spec.theta)
    low, high = _yarn_dim(spec, spec.beta_fast), _yarn_dim(spec, spec.beta_slow)
    if spec.truncate:
        low, high = floor(low), ceil(high)
    low, high = max(low, 0), min(high, spec.rotary_dim - 1)
    width = high - low if high != low else 0.001
    ramp_R = np.clip((np.arange(len(base_R)) - low) / width, 0, 1)
    scaled_R: F64 = base_R / spec.factor * ramp_R + base_R * (1 - ramp_R)
    return scaled_R


def _yarn_dim(spec: RopeSpec, rotations: float) -> float:
    """The pair index that turns `rotations` times within the original context."""
    per_turn = log(spec.original_context / (rotations * 2 * pi))
    return spec.rotary_dim * per_turn / (2 * log(spec.theta))


def _llama3(spec: RopeSpec, max_context: int) -> F64:
    """Llama 3.1: long wavelengths are interpolated, short ones kept, a linear blend between."""
    base_R = _base(spec, spec.theta)
    turns_R = spec.original_context * base_R / (2 * pi)
    blend_R = (turns_R - spec.low_freq_factor) / (spec.high_freq_factor - spec.low_freq_factor)
    blend_R = np.clip(blend_R, 0, 1)
    return (1 - blend_R) * base_R / spec.factor + blend_R * base_R


_KINDS: dict[str, Callable[[RopeSpec, int], F64]] = {
    "default": _default,
    "linear": _linear,
    "dynamic": _dynamic,
    "yarn": _yarn,
    "llama3": _llama3,
}
